"""The phases of a run: the phase of an epoch, and the settings that it applies. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.freeze_rules import decide
from engine.config.layer_tree import LayerTree
from engine.config.schema import PHASE_SETTINGS, Phase, RunConfig
from engine.errors import InputError


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A part of a run that the learning-rate schedule covers once: ``epochs`` epochs after the first ``first``.

    ``number`` is that of its phase, from 1; 0: a run without a recipe.
    """

    number: int
    first: int
    epochs: int


def phase_span_at(config: RunConfig, done: int) -> PhaseSpan:
    """The part of the next epoch after ``done`` epochs.

    train.epochs is the length of the run. If the phases are longer, they are cut; if they are shorter, the last phase
    is extended.
    """
    phases, end = config.recipe.phases, config.train.epochs
    first = 0
    for number, phase in enumerate(phases, 1):
        last = number == len(phases)
        if last or done < first + phase.epochs:
            return PhaseSpan(number, first, max((end if last else min(first + phase.epochs, end)) - first, 1))
        first += phase.epochs
    return PhaseSpan(0, 0, end)


def initial_config(config: RunConfig) -> RunConfig:
    """The initial config of a run: phases filled in from [optimizer], and the first phase applied.

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
    """Apply the settings of a phase to a config from ``initial_config``; they override earlier commands."""
    phase, changed = config.recipe.phases[number - 1], {}
    for name, key in PHASE_SETTINGS.items():
        section, setting = key.split(".")
        changed.setdefault(section, {})[setting] = getattr(phase, name)
    sections = {name: getattr(config, name).model_copy(update=values) for name, values in changed.items()}
    return config.model_copy(update=sections)


def check_plans(config: RunConfig, tree: LayerTree) -> None:
    """Raise InputError if the freeze plan of the run or of a phase does not match the layer tree."""
    for number, phase in enumerate(config.recipe.phases, 1):
        try:
            decide(phase.rules, tree)
        except InputError as error:
            raise InputError(
                f"phase {number} of recipe.phases: {error}; change its rules to layers of {tree.name}, or train "
                "without phases: recipe.phases = []"
            ) from None
    # These are also the rules of the first phase, until a command changes them.
    decide(config.freeze.rules, tree)


def phase_text(phase: Phase) -> str:
    """Describe a phase in one line: ``5 epochs: freeze *, train head; lr 0.001``."""
    rates = [f"{name} {value:g}" for name, value in phase if name not in ("epochs", "rules") and value is not None]
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    return "; ".join([f"{epochs}: {', '.join(phase.rules) or 'all layers trainable'}", *rates])
