"""Learning-rate schedules: pure functions of the step, so that a command can lengthen a running run."""

from __future__ import annotations

import math

from engine.config.schema import ScheduleConfig

# Fraction of the run before the peak, and the factors at start and end: Smith and Topin 2018 (1708.07120).
_ONECYCLE_RISE = 0.3
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1e-4


def factor(config: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The factor in 0 … 1 of the learning rate at ``step``, counted from 0.

    Step and ``epochs`` are those of the run, or of one phase of its recipe.
    """
    total = max(steps_per_epoch * epochs, 1)
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    position = min((step - warmup) / max(total - warmup, 1), 1.0)
    match config.name:
        case "constant":
            return 1.0
        case "cosine":
            return _cosine(1.0, 0.0, position)
        case "step":
            return 0.1 ** min(int(position * 3), 2)
        case "onecycle":
            if position < _ONECYCLE_RISE:
                return _cosine(_ONECYCLE_START, 1.0, position / _ONECYCLE_RISE)
            return _cosine(1.0, _ONECYCLE_END, (position - _ONECYCLE_RISE) / (1 - _ONECYCLE_RISE))


def _cosine(start: float, end: float, position: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2
