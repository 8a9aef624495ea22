"""The losses that train.loss takes besides a task's own: adding one is an entry here and its code in the task's module.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LossEntry:
    """``help``: what the loss measures. ``tasks``: names in ``TASKS`` whose module computes it."""

    help: str
    tasks: tuple[str, ...]


LOSSES = {
    "mse": LossEntry("(squared errors of numbers)", ("regression",)),
    "l1": LossEntry("(absolute errors)", ("regression",)),
    "huber": LossEntry("(squared up to a standard deviation, absolute beyond)", ("regression",)),
}
