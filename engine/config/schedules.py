"""The learning-rate schedules that schedule.name takes: adding one is adding an entry here. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_ONECYCLE_RISE = 0.3  # share of the run until the peak, and its start and end: Smith and Topin 2018 (1708.07120)
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1e-4


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """``factor`` maps the position in the run after warm-up, 0 … 1, to a multiple of the learning rate, 0 … 1.

    ``help`` follows the name in the setting's description. ``has_own_warmup``: it starts low by itself.
    """

    help: str
    factor: Callable[[float], float]
    has_own_warmup: bool = False


def _cosine(position: float) -> float:
    return _anneal(1.0, 0.0, position)


def _step(position: float) -> float:
    return 0.1 ** min(int(position * 3), 2)


def _onecycle(position: float) -> float:
    if position < _ONECYCLE_RISE:
        return _anneal(_ONECYCLE_START, 1.0, position / _ONECYCLE_RISE)
    return _anneal(1.0, _ONECYCLE_END, (position - _ONECYCLE_RISE) / (1 - _ONECYCLE_RISE))


def _anneal(start: float, end: float, position: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


SCHEDULES = {
    "constant": ScheduleEntry("", lambda _position: 1.0),
    "cosine": ScheduleEntry("to 0", _cosine),
    "onecycle": ScheduleEntry("(up, then down)", _onecycle, has_own_warmup=True),
    "step": ScheduleEntry("(÷10 after each third)", _step),
}
