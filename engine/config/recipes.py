"""Ready-made recipes: how a network is trained in phases, as the papers have it. Imports neither torch nor pydantic."""

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

# LP-FT: everything is tuned at this share of the rate at which the head was trained.
_LOW_RATE = 0.1
# Discriminative rates: from a layer to the one below it, in a network of five (Howard and Ruder 2018).
_ULMFIT_FACTOR = 2.6
_ULMFIT_STEPS = 4


def ready_made(name: str, tree: LayerTree, epochs: int, lr: float) -> list[Phase]:
    """The [[recipe.phases]] of a recipe by its name, for a network by its layer tree.

    ``epochs``: of the whole run; ``lr``: the head's learning rate outside the recipe. Raises InputError for too few
    epochs.
    """
    return READY_MADE[name].phases(tree.stages, epochs, lr)


def _lp_ft(_stages: Sequence[Stage], epochs: int, lr: float) -> list[Phase]:
    """Half of the epochs, rounded up, for the head; the rest for all layers, at one rate, a tenth of the head's."""
    _expect_two("lp-ft", epochs)
    tuned = epochs // 2
    return [
        {"epochs": epochs - tuned, "rules": _HEAD_ALONE},
        {"epochs": tuned, "rules": _ALL, "lr": _short(lr * _LOW_RATE), "backbone_lr_factor": 1.0},
    ]


def _gradual(stages: Sequence[Stage], epochs: int, _lr: float) -> list[Phase]:
    """An epoch for the head, an epoch for each stage that joins it from above, and once all train what is left.

    At least half of the epochs are left for that; a network of more stages than then have an epoch each has several
    join at a time.
    """
    _expect_two("gradual", epochs)
    steps = max(1, min(len(stages), epochs // 2))
    thawed = [stages[len(stages) - len(stages) * step // steps :] for step in range(1, steps)]
    plans = [
        ["freeze *", *(f"train {path}" for stage in part for path in stage.paths), "train head"] for part in thawed
    ]
    return [
        *({"epochs": 1, "rules": rules} for rules in (_HEAD_ALONE, *plans)),
        {"epochs": epochs - steps, "rules": _ALL},
    ]


def _discriminative(stages: Sequence[Stage], epochs: int, _lr: float) -> list[Phase]:
    """All layers from the start, each stage at the rate of the one above divided by 2.6.

    That is for networks of four stages or fewer. In a deeper one the factor is nearer to one, so that the first stage
    has the rate that it would have with four, a 46th of the head's: with the 13 stages of a ViT-B it is 0.745.
    """
    factor = _short(_ULMFIT_FACTOR ** -min(1.0, _ULMFIT_STEPS / max(len(stages), 1)))
    return [{"epochs": epochs, "rules": _ALL, "backbone_lr_factor": factor, "layer_decay": factor}]


def _expect_two(name: str, epochs: int) -> None:
    if epochs < 2:
        raise InputError(f"the recipe {name} takes 2 epochs or more, and train.epochs = {epochs}; raise it")


def _short(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """``about`` says what it does, for people; ``phases`` makes them of stages, epochs and the head's rate."""

    about: str
    phases: Callable[[Sequence[Stage], int, float], list[Phase]]


READY_MADE = {
    # Kumar et al. 2022, 2202.10054
    "lp-ft": Recipe("the head first, then everything at a low rate", _lp_ft),
    # Howard and Ruder 2018, 1801.06146, as the next
    "gradual": Recipe("one stage after the other joins the head", _gradual),
    "discriminative": Recipe("everything, at rates that fall towards the input", _discriminative),
}
