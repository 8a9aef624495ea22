"""The learning-rate schedules that schedule.name takes: adding one is adding an entry here. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ONECYCLE_RISE = 0.3  # share of the run until the peak, and its start and end: Smith and Topin 2018 (1708.07120)
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1e-4
_PLATEAU_THRESHOLD = 1e-4  # the share of the score by which a better one is better, torch's default


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """``factor`` maps the position in the run after warm-up, 0 … 1, to a multiple of the learning rate, 0 … 1.

    ``help`` follows the name in the setting's description. ``settings``: further keys of [schedule] that ``factor``
    takes by name. ``uses_scores``: it also takes ``scores``, the validation score after each epoch, None where it is
    undefined; higher is better. ``has_own_warmup``: it starts low by itself.
    """

    help: str
    factor: Callable[..., float]
    has_own_warmup: bool = False
    settings: tuple[str, ...] = ()
    uses_scores: bool = False


def _cosine(position: float) -> float:
    return _anneal(1.0, 0.0, position)


def _cosine_restarts(position: float, cycles: int, cycle_mult: float) -> float:
    """Cycles from 1 to 0, each ``cycle_mult`` times as long as the one before (Loshchilov and Hutter 2017, 1608.03983).

    The last one ends with the run.
    """
    lengths = [cycle_mult**number for number in range(cycles)]
    begin, at = 0.0, position * sum(lengths)
    for length in lengths[:-1]:
        if at < begin + length:
            return _cosine((at - begin) / length)
        begin += length
    return _cosine(min((at - begin) / lengths[-1], 1.0))


def _plateau(_position: float, scores: Sequence[float | None], plateau_patience: int, plateau_factor: float) -> float:
    """As torch.optim.lr_scheduler.ReduceLROnPlateau: multiplied by ``plateau_factor`` whenever more than
    ``plateau_patience`` epochs in a row bring no better score."""
    best, bad, factor = -math.inf, 0, 1.0
    for score in scores:
        if score is not None and score > best + _PLATEAU_THRESHOLD * (abs(best) if math.isfinite(best) else 0.0):
            best, bad = score, 0
        else:
            bad += 1
        if bad > plateau_patience:
            factor, bad = factor * plateau_factor, 0
    return factor


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
    "cosine_restarts": ScheduleEntry(
        "(SGDR: to 0 in schedule.cycles)", _cosine_restarts, settings=("cycles", "cycle_mult")
    ),
    "plateau": ScheduleEntry(
        "(falls when train.score no longer improves)",
        _plateau,
        settings=("plateau_patience", "plateau_factor"),
        uses_scores=True,
    ),
    "onecycle": ScheduleEntry("(up, then down)", _onecycle, has_own_warmup=True),
    "step": ScheduleEntry("(÷10 after each third)", _step),
}
