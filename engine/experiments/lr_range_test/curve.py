"""What a learning-rate range test found, and which rate it suggests. Imports no torch: the app reads it, too.

Smith 2017 (1506.01186) raises the rate while the network trains; the exponential sweep, the smoothing and reading a
rate off the curve are those of Gugger (sgugger.github.io/how-do-you-find-a-good-learning-rate.html) and fastai.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import msgspec

_LOWEST, _HIGHEST, _STEPS = 1e-6, 10.0, 100
RATES = [_LOWEST * (_HIGHEST / _LOWEST) ** (step / (_STEPS - 1)) for step in range(_STEPS)]
"""Of a sweep, a step each: from rates at which nothing moves to rates at which everything breaks."""

_MEMORY = 0.9  # share of the smoothed loss that is kept at each step
_EXPLODED = 4.0  # times the best smoothed loss
_ENDS = 0.1  # share of the curve at its beginning in which nothing is read off: there smoothing has seen too little
_SLOPE_OVER = 3  # points to each side over which the slope is taken
_LEVEL_OVER = 10  # first losses, whose mean is that of a part that did not learn yet
# A fall smaller than this is told from chance by nobody; as a share of the loss at the beginning.
_LEAST_FALL = 0.03

_NEVER = "no suggestion: the loss does not fall at any of these rates; look at the data and at what trains"
_NOT_WITH_IT = (
    f"no suggestion: within {_STEPS} steps the loss falls no further than it does while these layers stay as they are"
)


class Curve(msgspec.Struct):
    """``losses``: smoothed, the mean of the sweeps, at ``rates``, which rise; for the backbone less what the head alone
    gains. Rates to train with are None where the loss never falls; ``why`` says in a sentence which of them is
    ``suggested``, or why none is."""

    rates: list[float]
    losses: list[float]
    steepest: float | None
    minimum_tenth: float | None
    suggested: float | None
    why: str


class RangeTestResult(msgspec.Struct):
    """None for what does not train. ``backbone``: rates of its layers next to the head."""

    head: Curve | None
    backbone: Curve | None


class RangeTestStep(msgspec.Struct):
    """A step of a test: ``done`` of at most ``total``; ``sweep`` (from 0) of ``part`` ("head" or "backbone", "" where a
    sweep's control runs) had this smoothed ``loss`` at ``rate``, None where it is not finite."""

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


def suggest_rate(sweeps: Sequence[Sequence[float]], controls: Sequence[Sequence[float]] = ()) -> Curve:
    """The curve of several sweeps over ``RATES``, given the loss of each batch until it exploded.

    ``controls``: the losses of the same batches while what is swept stays as it is. What the loss would fall without it
    is then taken out of the curve, and with that most of what batches differ in.

    Taken is the rate at which the loss falls fastest. A tenth of the minimum's rate depends on how soon the loss breaks
    out: for the demo's backbone it was six times lower and gave a worse run than no test at all, and for heads it was
    no better.
    """
    if controls:
        level = fmean(loss for control in controls for loss in control[:_LEVEL_OVER])
        sweeps = [
            [level + loss - still for loss, still in zip(sweep, control, strict=False)]
            for sweep, control in zip(sweeps, controls, strict=True)
        ]
    losses = [fmean(at) for at in zip(*map(smooth, sweeps), strict=False)]
    rates = RATES[: len(losses)]
    start = round(_ENDS * len(losses))
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    if lowest <= start or losses[lowest] > (1 - _LEAST_FALL) * max(losses[start : lowest + 1]):
        why = _NOT_WITH_IT if controls else _NEVER
        return Curve(rates, losses, None, None, None, why)
    steepest = _two_digits(rates[min(range(start, lowest + 1), key=lambda at: _slope(losses, at))])
    tenth = _two_digits(rates[lowest] / 10)
    other = "a tenth of the rate with the lowest loss"
    how = "the same as" if steepest == tenth else "lower than" if steepest < tenth else "higher than"
    why = f"the rate at which the loss falls fastest, mean of {len(sweeps)} sweeps; it is {how} {other}"
    return Curve(rates, losses, steepest, tenth, steepest, why)


def smooth(losses: Sequence[float]) -> list[float]:
    """The smoothed loss after each."""
    smoothed = Smoothed()
    return [smoothed.add(loss) for loss in losses]


def _slope(losses: Sequence[float], at: int) -> float:
    """Over the logarithm of the rate, in units of the steps between rates."""
    left, right = max(at - _SLOPE_OVER, 0), min(at + _SLOPE_OVER, len(losses) - 1)
    return (losses[right] - losses[left]) / (right - left)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.1e}")
