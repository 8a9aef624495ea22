"""The loss curve of a learning-rate range test, and the suggested rate. Imports no torch, so that the app can read it.

Smith 2017 (1506.01186) introduces the test. Exponential sweep, smoothing and reading the rate off the curve follow
Gugger (sgugger.github.io/how-do-you-find-a-good-learning-rate.html) and fastai.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import msgspec

_LOWEST, _HIGHEST, _STEPS = 1e-6, 10.0, 100
RATES = [_LOWEST * (_HIGHEST / _LOWEST) ** (step / (_STEPS - 1)) for step in range(_STEPS)]
"""The rates of a sweep, one per step: from too small to learn to divergence."""

_BETA = 0.9  # of the exponential moving average
_DIVERGED = 4.0  # times the best smoothed loss
_SKIPPED = 0.1  # fraction of the curve at its start that is not read: the average has seen too few losses
_SLOPE_RADIUS = 3  # points to each side over which the slope is computed
_LEVEL_STEPS = 10  # first steps, whose mean loss is that of an untrained part
_LEAST_FALL = 0.03  # fraction of the initial loss; a smaller fall may be noise

_NEVER = "no suggestion: the loss falls at none of these rates; check the labels and the freeze plan"
_NO_GAIN = f"no suggestion: within {_STEPS} steps the loss falls no further than with these layers frozen"


class Curve(msgspec.Struct):
    """The smoothed loss at rising rates, mean of the sweeps.

    - ``losses``: at ``rates``; the backbone's without what the head alone gains.
    - ``steepest``: the rate at which the loss falls fastest, None where it never falls.
    - ``minimum_tenth``: a tenth of the rate with the lowest loss, None where it never falls.
    - ``suggested``: the rate to train with, or None.
    - ``why``: one sentence on the suggestion.
    """

    rates: list[float]
    losses: list[float]
    steepest: float | None
    minimum_tenth: float | None
    suggested: float | None
    why: str


class RangeTestResult(msgspec.Struct):
    """The curves of head and backbone, None for a frozen part. ``backbone``: rates of its layers next to the head."""

    head: Curve | None
    backbone: Curve | None


class RangeTestStep(msgspec.Struct):
    """One step of a test.

    ``part``: "head" or "backbone", "" in a control sweep. ``sweep``: from 0. ``done``: steps, of at most ``total``.
    ``loss``: smoothed, at ``rate``; None where it is non-finite.
    """

    part: str
    sweep: int
    done: int
    total: int
    rate: float
    loss: float | None


class Smoothed:
    """The exponential moving average of losses, with bias correction (Kingma and Ba 2015, 1412.6980)."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._weight = 0.0
        self._best = math.inf

    def add(self, loss: float) -> float:
        """Add a loss; returns the average."""
        self._mean = _BETA * self._mean + (1 - _BETA) * loss
        self._weight = _BETA * self._weight + (1 - _BETA)
        mean = self._mean / self._weight
        if math.isfinite(mean):
            self._best = min(self._best, mean)
        return mean

    def has_diverged(self, mean: float) -> bool:
        """Whether the loss has diverged, so that larger rates show nothing more."""
        return not mean <= _DIVERGED * self._best  # also catches NaN


def suggest_rate(sweeps: Sequence[Sequence[float]], controls: Sequence[Sequence[float]] = ()) -> Curve:
    """Suggest a rate from several sweeps over ``RATES``, given the loss of each batch until it diverged.

    ``controls``: losses on the same batches with the swept part frozen. Subtracting them removes what the loss falls
    without that part, and most of the variation between batches.

    The suggestion is the rate at which the loss falls fastest. A tenth of the minimum's rate depends on how soon the
    loss diverges. For the demo's backbone it was six times lower and gave a worse run than no test. For heads it was
    no better.
    """
    if controls:
        level = fmean(loss for control in controls for loss in control[:_LEVEL_STEPS])
        sweeps = [
            [level + loss - frozen for loss, frozen in zip(sweep, control, strict=False)]
            for sweep, control in zip(sweeps, controls, strict=True)
        ]
    losses = [fmean(at) for at in zip(*map(smooth, sweeps), strict=False)]
    rates = RATES[: len(losses)]
    start = round(_SKIPPED * len(losses))
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    if lowest <= start or losses[lowest] > (1 - _LEAST_FALL) * max(losses[start : lowest + 1]):
        why = _NO_GAIN if controls else _NEVER
        return Curve(rates, losses, None, None, None, why)
    steepest = _two_digits(rates[min(range(start, lowest + 1), key=lambda at: _slope(losses, at))])
    tenth = _two_digits(rates[lowest] / 10)
    other = "a tenth of the rate with the lowest loss"
    how = "the same as" if steepest == tenth else "lower than" if steepest < tenth else "higher than"
    why = f"the rate at which the loss falls fastest, mean of {len(sweeps)} sweeps; it is {how} {other}"
    return Curve(rates, losses, steepest, tenth, steepest, why)


def smooth(losses: Sequence[float]) -> list[float]:
    """The smoothed loss after each step."""
    smoothed = Smoothed()
    return [smoothed.add(loss) for loss in losses]


def _slope(losses: Sequence[float], at: int) -> float:
    """The slope per step, thus over the logarithm of the rate."""
    left, right = max(at - _SLOPE_RADIUS, 0), min(at + _SLOPE_RADIUS, len(losses) - 1)
    return (losses[right] - losses[left]) / (right - left)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.1e}")
