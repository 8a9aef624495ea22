"""Learning-rate schedules: pure functions of the step, so that a command can lengthen a running run."""

from __future__ import annotations

from engine.config.schedules import SCHEDULES
from engine.config.schema import ScheduleConfig


def factor(config: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The factor in 0 … 1 of the learning rate at ``step``, counted from 0.

    Step and ``epochs`` are those of the run, or of one phase of its recipe.
    """
    total = max(steps_per_epoch * epochs, 1)
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    position = min((step - warmup) / max(total - warmup, 1), 1.0)
    return SCHEDULES[config.name].factor(position)
