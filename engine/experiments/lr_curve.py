"""What a learning-rate range test found, and which rate it suggests. Imports no torch: the app reads it, too.

Smith 2017 (1506.01186) raises the rate while the network trains; the exponential sweep, the smoothing and reading a
rate off the curve are those of Gugger (sgugger.github.io/how-do-you-find-a-good-learning-rate.html) and fastai.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

_MEMORY = 0.9  # share of the smoothed loss that is kept at each step
_EXPLODED = 4.0  # times the best smoothed loss
_ENDS = 0.1  # share of the curve at its beginning in which nothing is read off: there smoothing has seen too little
_SLOPE_OVER = 3  # points to each side over which the slope is taken
# A fall smaller than this is told from chance by nobody; as a share of the loss at the beginning.
_LEAST_FALL = 0.03


class Curve(msgspec.Struct):
    """``losses``: smoothed, the mean of the sweeps, at ``rates``, which rise. Rates to train with are None where the
    loss never falls; ``why`` says in a sentence which is ``suggested``, or why none is."""

    rates: list[float]
    losses: list[float]
    steepest: float | None
    minimum_tenth: float | None
    suggested: float | None
    why: str


class Found(msgspec.Struct):
    """None for what does not train. ``backbone``: rates of its layers next to the head."""

    head: Curve | None
    backbone: Curve | None


class Tried(msgspec.Struct):
    """A step of a test: ``done`` of at most ``total``; ``sweep`` (from 0) of ``part`` ("head" or "backbone") had this
    smoothed ``loss`` at ``rate``, None where it is not finite or the step was no part of a sweep."""

    part: str
    sweep: int
    done: int
    total: int
    rate: float
    loss: float | None


class Smoothed:
    """The exponential mean of losses, without the bias of its beginning at 0 (Kingma and Ba 2015, 1412.6980)."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._weight = 0.0
        self._best = math.inf

    def add(self, loss: float) -> float:
        """The mean with another loss in it."""
        self._mean = _MEMORY * self._mean + (1 - _MEMORY) * loss
        self._weight = _MEMORY * self._weight + (1 - _MEMORY)
        mean = self._mean / self._weight
        if math.isfinite(mean):
            self._best = min(self._best, mean)
        return mean

    def exploded(self, mean: float) -> bool:
        """Whether larger rates have nothing more to tell."""
        return not mean <= _EXPLODED * self._best


def read_off(rates: Sequence[float], sweeps: Sequence[Sequence[float]]) -> Curve:
    """The curve of several sweeps over the same ``rates``, whose smoothed losses end where they exploded.

    The suggestion is the smaller of two common ones. Each alone is sometimes too large by an order of magnitude: the
    slope is steep where few steps go far, which is not where many steps go furthest, and the minimum's place depends on
    how soon the loss explodes.
    """
    count = min((len(sweep) for sweep in sweeps), default=0)
    losses = [sum(at) / len(sweeps) for at in zip(*(sweep[:count] for sweep in sweeps), strict=True)]
    rates = list(rates[:count])
    start = round(_ENDS * count)
    lowest = min(range(count), key=losses.__getitem__, default=0)
    if lowest <= start or losses[lowest] > (1 - _LEAST_FALL) * max(losses[start : lowest + 1]):
        why = "no suggestion: the loss does not fall at any of these rates; look at the data and at what trains"
        return Curve(rates, losses, None, None, None, why)
    steepest = _two_digits(rates[min(range(start, lowest + 1), key=lambda at: _slope(losses, at))])
    tenth = _two_digits(rates[lowest] / 10)
    if steepest <= tenth:
        why = "where the loss falls fastest, which is below a tenth of the rate with the lowest loss"
    else:
        why = "a tenth of the rate with the lowest loss, which is below the rate at which the loss falls fastest"
    return Curve(rates, losses, steepest, tenth, min(steepest, tenth), why)


def _slope(losses: Sequence[float], at: int) -> float:
    """Over the logarithm of the rate, in units of the steps between rates."""
    left, right = max(at - _SLOPE_OVER, 0), min(at + _SLOPE_OVER, len(losses) - 1)
    return (losses[right] - losses[left]) / (right - left)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.1e}")
