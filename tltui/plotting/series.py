"""Long series of numbers over steps, cut to the width of a plot without reading all of them again."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

from engine.steps import Steps

# Full blocks of this many values are summed up once; what a plot column covers is then a few blocks and two ends.
BLOCK = 128
# A plot asks for two widths (columns and half columns); a resize or a zoom for two more.
VIEWS = 4
# Beyond this, sums and the ends of axes would be infinite.
LARGEST = 1e290


class Bucket(NamedTuple):
    """What lies in one of the equal parts of a range; ``at`` counts the parts from the left."""

    at: int
    x: float
    low: float
    high: float
    mean: float


class Series:
    """Values at rising steps. A range of any length is cut in buckets whose extremes are those of the values."""

    def __init__(self) -> None:
        self.xs = array("q")
        self.ys = array("d")
        self.generation = 0
        self._lows = array("d")
        self._highs = array("d")
        self._sums = array("d")
        self._views: dict[tuple[float, float, int], _View] = {}

    @property
    def last(self) -> float | None:
        """The latest value."""
        return self.ys[-1] if self.ys else None

    def extend(self, xs: Sequence[int], ys: Sequence[float]) -> None:
        """Append values. Steps that were taken back and are repeated replace what stood there."""
        if not isinstance(xs, range) and any(after < before for before, after in pairwise(xs)):
            cut = next(at for at, (before, after) in enumerate(pairwise(xs), start=1) if after < before)
            self.extend(xs[:cut], ys[:cut])
            self.extend(xs[cut:], ys[cut:])
            return
        if xs and self.xs and xs[0] <= self.xs[-1]:
            self._rewind(xs[0])
        if ys and (max(ys) > LARGEST or min(ys) < -LARGEST):
            ys = [min(max(y, -LARGEST), LARGEST) for y in ys]
        self.xs.extend(xs)
        self.ys.extend(ys)
        for start in range(len(self._lows) * BLOCK, len(self.ys) - BLOCK + 1, BLOCK):
            block = self.ys[start : start + BLOCK]
            self._lows.append(min(block))
            self._highs.append(max(block))
            self._sums.append(sum(block))

    def _rewind(self, step: int) -> None:
        keep = bisect_left(self.xs, step)
        del self.xs[keep:], self.ys[keep:]
        blocks = keep // BLOCK
        del self._lows[blocks:], self._highs[blocks:], self._sums[blocks:]
        self.generation += 1

    def buckets(self, left: float, right: float, count: int) -> list[Bucket]:
        """The values from ``left`` to ``right`` in ``count`` equal buckets; empty buckets are left out."""
        key = (left, right, count)
        if key not in self._views and len(self._views) >= VIEWS:
            self._views.clear()
        return self._views.setdefault(key, _View(self, left, right, count)).buckets()

    def over(self, start: int, end: int) -> tuple[float, float, float]:
        """Lowest, highest and sum of the values at the positions from ``start`` to before ``end``."""
        first, last = -(-start // BLOCK), end // BLOCK
        if first >= last:
            values = self.ys[start:end]
            return min(values), max(values), sum(values)
        ends = [*self.ys[start : first * BLOCK], *self.ys[last * BLOCK : end]]
        return (
            min([*self._lows[first:last], *ends]),
            max([*self._highs[first:last], *ends]),
            sum(self._sums[first:last]) + sum(ends),
        )


class _View:
    """The buckets of one range; those that lie behind the latest value are never looked at again."""

    def __init__(self, series: Series, left: float, right: float, count: int) -> None:
        self._series, self._left, self._count = series, left, count
        self._width = (right - left) / count
        self._restart()

    def _restart(self) -> None:
        self._generation = self._series.generation
        self._done: list[Bucket] = []
        self._next = 0
        self._start = bisect_left(self._series.xs, self._left)

    def buckets(self) -> list[Bucket]:
        if self._generation != self._series.generation:
            self._restart()
        xs = self._series.xs
        found: list[Bucket] = []
        while self._next < self._count and self._start < len(xs):
            edge = self._left + (self._next + 1) * self._width
            # the right end of the range belongs to its last bucket
            end = bisect_left(xs, edge if self._next < self._count - 1 else math.nextafter(edge, math.inf), self._start)
            if end > self._start:
                low, high, total = self._series.over(self._start, end)
                found.append(
                    Bucket(self._next, edge - self._width / 2, low, high, total / (end - self._start)),
                )
            if end == len(xs):
                break
            self._start, self._next = end, self._next + 1
            self._done += found
            found = []
        return self._done + found


def smoothed(buckets: Sequence[Bucket], span: float) -> list[tuple[int, float]]:
    """An exponential moving average over bucket means, as (place of the bucket, value).

    ``span`` is the time constant in buckets. The start is corrected for its missing past, as in Adam.
    """
    found: list[tuple[int, float]] = []
    value = weight = 0.0
    before = 0
    for bucket in buckets:
        decay = math.exp((before - bucket.at) / span)
        value, weight = value * decay + bucket.mean, weight * decay + 1
        before = bucket.at
        found.append((bucket.at, value / weight))
    return found


class HasStep(Protocol):
    """A step or an epoch of a run."""

    @property
    def step(self) -> int: ...


T = TypeVar("T", bound=HasStep)


class Feed(Generic[T]):
    """A series that follows a growing list of events; ``read`` gives the value of one, None if it has none."""

    def __init__(self, read: Callable[[T], float | None]) -> None:
        self.series = Series()
        self._read = read
        self._taken = 0

    def follow(self, events: Sequence[T]) -> Series:
        """The series with whatever came since the last call."""
        new = events[self._taken :]
        self._taken = len(events)
        if not new:
            return self.series
        found = [(event.step, value) for event in new if (value := self._read(event)) is not None]
        self.series.extend([step for step, _ in found], [value for _, value in found])
        return self.series


class StepFeed:
    """A series that follows a run's steps, column by column."""

    def __init__(self) -> None:
        self.series = Series()
        self._taken = 0

    def follow(self, steps: Steps, column: Callable[..., Sequence[float]]) -> Series:
        """The series with whatever came since the last call; ``column(steps, start=…)`` gives the values."""
        if self._taken == len(steps):
            return self.series
        places, values = steps.places(self._taken), column(steps, start=self._taken)
        self._taken = len(steps)
        xs: Sequence[int] = range(places[0], places[-1] + 1)
        if len(xs) != len(places):  # steps that were taken back: steps count by one
            xs = places
        if math.isnan(sum(values)):  # ten times faster than a search for what is missing
            there = [(x, y) for x, y in zip(xs, values, strict=True) if not math.isnan(y)]
            xs, values = [x for x, _ in there], [y for _, y in there]
        self.series.extend(xs, values)
        return self.series
