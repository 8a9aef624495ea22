"""The phases of a run: which one an epoch lies in, what it puts in force, and ready-made recipes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import PHASE_SETTINGS, Phase, RunConfig
from engine.errors import InputError
from engine.plan import decide_model

_HEAD_ALONE = ["freeze *", "train head"]
_ALL = ["train *"]

# LP-FT: everything is tuned at this share of the rate at which the head was trained.
_LOW_RATE = 0.1
# Discriminative rates: from a layer to the one below it, in a network of five (Howard and Ruder 2018).
_ULMFIT_FACTOR = 2.6
_ULMFIT_STEPS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run over which the schedule goes once: after ``first`` epochs, for ``epochs``. ``number`` is that of
    its phase, from 1; 0: a run without a recipe."""

    number: int
    first: int
    epochs: int


def part_of(config: RunConfig, done: int) -> Part:
    """The part in which the epoch lies that comes after ``done`` epochs.

    train.epochs says how long the run is: where it is less than the phases' sum they are cut, where it is more the
    last phase goes on.
    """
    phases, end = config.recipe.phases, config.train.epochs
    first = 0
    for number, phase in enumerate(phases, 1):
        last = number == len(phases)
        if last or done < first + phase.epochs:
            return Part(number, first, max((end if last else min(first + phase.epochs, end)) - first, 1))
        first += phase.epochs
    return Part(0, 0, end)


def begun(config: RunConfig) -> RunConfig:
    """The config with which a run begins: its first phase in force, and what phases leave out as [optimizer] has it.

    Without a recipe it is ``config`` itself.
    """
    if not config.recipe.phases:
        return config
    optimizer = config.optimizer.model_dump()
    phases = [
        phase.model_copy(update={name: optimizer[name] for name, value in phase if value is None})
        for phase in config.recipe.phases
    ]
    return in_force(config.model_copy(update={"recipe": config.recipe.model_copy(update={"phases": phases})}), 1)


def in_force(config: RunConfig, number: int) -> RunConfig:
    """``config``, as ``begun`` gave it, with the settings of a phase; what commands made of them before is over."""
    phase, changed = config.recipe.phases[number - 1], {}
    for name, key in PHASE_SETTINGS.items():
        section, setting = key.split(".")
        changed.setdefault(section, {})[setting] = getattr(phase, name)
    sections = {name: getattr(config, name).model_copy(update=values) for name, values in changed.items()}
    return config.model_copy(update=sections)


def check_plans(config: RunConfig, model: Mapping[str, Any]) -> None:
    """Raises InputError for a freeze plan, of the run or of one of its phases, that does not fit the layer tree."""
    decide_model(config.freeze.rules, model)
    for number, phase in enumerate(config.recipe.phases, 1):
        try:
            decide_model(phase.rules, model)
        except InputError as error:
            raise InputError(f"phase {number} of recipe.phases: {error}") from None


def in_words(phase: Phase | Mapping[str, Any]) -> str:
    """A phase on a line: ``5 epochs: freeze *, train head; lr 0.001``."""
    given = phase.model_dump() if isinstance(phase, Phase) else phase
    rates = [f"{name} {given[name]:g}" for name in PHASE_SETTINGS if name != "rules" and given.get(name) is not None]
    epochs = "1 epoch" if given["epochs"] == 1 else f"{given['epochs']} epochs"
    return "; ".join([f"{epochs}: {', '.join(given['rules']) or 'everything trains'}", *rates])


def ready_made(name: str, model: Mapping[str, Any], epochs: int, lr: float) -> list[Phase]:
    """The phases of a recipe by its name, for a network by its layer tree (the content of model.json).

    ``epochs``: of the whole run; ``lr``: the head's rate outside the recipe. Raises InputError where there are too few
    epochs for it.
    """
    return READY_MADE[name].phases(model["stages"], epochs, lr)


def _lp_ft(_stages: Sequence[Mapping[str, Any]], epochs: int, lr: float) -> list[Phase]:
    """Half of the epochs, rounded up, for the head; the rest for all layers, at one rate, a tenth of the head's."""
    _expect_two("lp-ft", epochs)
    tuned = epochs // 2
    return [
        Phase(epochs=epochs - tuned, rules=_HEAD_ALONE),
        Phase(epochs=tuned, rules=_ALL, lr=_short(lr * _LOW_RATE), backbone_lr_factor=1.0),
    ]


def _gradual(stages: Sequence[Mapping[str, Any]], epochs: int, _lr: float) -> list[Phase]:
    """An epoch for the head, an epoch for each stage that joins it from above, and once all train what is left.

    At least half of the epochs are left for that; a network of more stages than then have an epoch each has several
    join at a time.
    """
    _expect_two("gradual", epochs)
    steps = max(1, min(len(stages), epochs // 2))
    thawed = [stages[len(stages) - len(stages) * step // steps :] for step in range(1, steps)]
    plans = [
        ["freeze *", *(f"train {path}" for stage in part for path in stage["paths"]), "train head"] for part in thawed
    ]
    return [
        *(Phase(epochs=1, rules=rules) for rules in (_HEAD_ALONE, *plans)),
        Phase(epochs=epochs - steps, rules=_ALL),
    ]


def _discriminative(stages: Sequence[Mapping[str, Any]], epochs: int, _lr: float) -> list[Phase]:
    """All layers from the start, each stage at the rate of the one above divided by 2.6.

    That is for networks of four stages or fewer. In a deeper one the factor is nearer to one, so that the first stage
    has the rate that it would have with four, a 46th of the head's: with the 13 stages of a ViT-B it is 0.745.
    """
    factor = _short(_ULMFIT_FACTOR ** -min(1.0, _ULMFIT_STEPS / max(len(stages), 1)))
    return [Phase(epochs=epochs, rules=_ALL, backbone_lr_factor=factor, layer_decay=factor)]


def _expect_two(name: str, epochs: int) -> None:
    if epochs < 2:
        raise InputError(f"the recipe {name} takes 2 epochs or more, and train.epochs = {epochs}; raise it")


def _short(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """``about`` says what it does, for people; ``phases`` makes them of stages, epochs and the head's rate."""

    about: str
    phases: Callable[[Sequence[Mapping[str, Any]], int, float], list[Phase]]


READY_MADE = {
    # Kumar et al. 2022, 2202.10054
    "lp-ft": Recipe("the head first, then everything at a low rate", _lp_ft),
    # Howard and Ruder 2018, 1801.06146, as the next
    "gradual": Recipe("one stage after the other joins the head", _gradual),
    "discriminative": Recipe("everything, at rates that fall from the head to the input", _discriminative),
}
