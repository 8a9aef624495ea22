"""How the learning rate moves: a factor for each step, a pure function, so that a run can be lengthened on the way."""

from __future__ import annotations

from engine.config.schedules import SCHEDULES
from engine.config.schema import ScheduleConfig


def factor(config: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the learning rate is multiplied by at ``step`` (0 is the first) of so many ``epochs``; in 0 … 1.

    These are the whole run's, or those of one phase of a recipe.
    """
    total = max(steps_per_epoch * epochs, 1)
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    position = min((step - warmup) / max(total - warmup, 1), 1.0)
    return SCHEDULES[config.name].factor(position)
