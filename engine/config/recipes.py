"""Recipe presets from the literature: training in phases. Imports neither torch nor pydantic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config.layer_tree import LayerTree, Stage
from engine.errors import InputError

# A [[recipe.phases]] table.
Phase = dict[str, Any]

_HEAD_ALONE = ["freeze *", "train head"]
_ALL = ["train *"]

# LP-FT: the learning rate of fine-tuning, relative to that of the linear probe.
_LOW_RATE = 0.1
# Discriminative learning rates: the factor from a layer to the one below it, of five (Howard and Ruder 2018).
_ULMFIT_FACTOR = 2.6
_ULMFIT_STEPS = 4


def ready_made(name: str, tree: LayerTree, epochs: int, lr: float) -> list[Phase]:
    """The [[recipe.phases]] of a preset for a network's layer tree.

    ``epochs``: of the whole run; ``lr``: the head's learning rate outside the recipe. Raises InputError for too few
    epochs.
    """
    return READY_MADE[name].phases(tree.stages, epochs, lr)


def _lp_ft(_stages: Sequence[Stage], epochs: int, lr: float) -> list[Phase]:
    """Half of the epochs, rounded up, for the head; the rest for all layers at a tenth of the head's learning rate."""
    _expect_two("lp-ft", epochs)
    tuned = epochs // 2
    return [
        {"epochs": epochs - tuned, "rules": _HEAD_ALONE},
        {"epochs": tuned, "rules": _ALL, "lr": _short(lr * _LOW_RATE), "backbone_lr_factor": 1.0},
    ]


def _gradual(stages: Sequence[Stage], epochs: int, _lr: float) -> list[Phase]:
    """Gradual unfreezing: an epoch for the head, then one for each stage from the top, then the rest for all layers.

    At least half of the epochs train all layers. A network with too many stages unfreezes several in an epoch.
    """
    _expect_two("gradual", epochs)
    steps = max(1, min(len(stages), epochs // 2))
    unfrozen = [stages[len(stages) - len(stages) * step // steps :] for step in range(1, steps)]
    plans = [
        ["freeze *", *(f"train {path}" for stage in part for path in stage.paths), "train head"] for part in unfrozen
    ]
    return [
        *({"epochs": 1, "rules": rules} for rules in (_HEAD_ALONE, *plans)),
        {"epochs": epochs - steps, "rules": _ALL},
    ]


def _discriminative(stages: Sequence[Stage], epochs: int, _lr: float) -> list[Phase]:
    """All layers from the start, each stage at the learning rate of the one above divided by 2.6.

    This holds for networks of four stages or fewer. In a deeper network the factor is nearer to 1, so that the first
    stage has the same learning rate as with four stages, a 46th of the head's. With the 13 stages of a ViT-B the
    factor is 0.745.
    """
    factor = _short(_ULMFIT_FACTOR ** -min(1.0, _ULMFIT_STEPS / max(len(stages), 1)))
    return [{"epochs": epochs, "rules": _ALL, "backbone_lr_factor": factor, "layer_decay": factor}]


def _expect_two(name: str, epochs: int) -> None:
    if epochs < 2:
        raise InputError(f"the recipe {name} needs 2 epochs or more, and train.epochs = {epochs}; raise it")


def _short(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A preset: its description, and a function from stages, epochs and the head's learning rate to its phases."""

    about: str
    phases: Callable[[Sequence[Stage], int, float], list[Phase]]


READY_MADE = {
    # Kumar et al. 2022, 2202.10054
    "lp-ft": Recipe("the head first, then everything at a low rate", _lp_ft),
    # Howard and Ruder 2018, 1801.06146, also for the next
    "gradual": Recipe("one stage after the other joins the head", _gradual),
    "discriminative": Recipe("everything, at rates that fall towards the input", _discriminative),
}
