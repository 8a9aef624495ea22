"""Time series of bounded size over steps, downsampled incrementally to the width of a plot."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

# The latest RECENT values are exact; older ones are in GROUPS groups of equal size or fewer. Both are far more than a
# plot has columns.
RECENT = 4096
GROUPS = 4096
# A plot asks for two widths (columns and half columns); a resize or a zoom for two more.
_VIEWS = 4
# Larger values would make sums and axis limits infinite.
_LARGEST = 1e290


class Bucket(NamedTuple):
    """The values in one of the equal parts of a range; ``at`` counts the parts from the left."""

    at: int
    x: float
    low: float
    high: float
    mean: float


class Series:
    """Values at ascending steps, in bounded memory.

    ``buckets`` splits a range into buckets with the extremes and mean of their values. They are exact where the range
    begins among the latest ``RECENT`` values, else to within a group of 1 / ``GROUPS`` of the values or less.
    """

    def __init__(self) -> None:
        self.xs = array("q")
        self.ys = array("d")
        self.generation = 0
        self.groups = _Groups()
        self._views: dict[tuple[float, float, int], _View] = {}

    def at(self, step: int) -> float | None:
        """The value at ``step`` or the latest before it; the mean of its group if it is old."""
        recent = bisect_right(self.xs, step)
        if recent:
            return self.ys[recent - 1]
        group = bisect_right(self.groups.xs, step)
        return self.groups.over(group - 1, group)[2] if group else None

    def extend(self, xs: Sequence[int], ys: Sequence[float]) -> None:
        """Append values. Repeated steps replace the earlier values from there on."""
        if not isinstance(xs, range) and any(after < before for before, after in pairwise(xs)):
            cut = next(at for at, (before, after) in enumerate(pairwise(xs), start=1) if after < before)
            self.extend(xs[:cut], ys[:cut])
            self.extend(xs[cut:], ys[cut:])
            return
        if xs and self.xs and xs[0] <= self.xs[-1]:
            self._rewind(xs[0])
        if ys and (max(ys) > _LARGEST or min(ys) < -_LARGEST):
            ys = [min(max(y, -_LARGEST), _LARGEST) for y in ys]
        self.xs.fromlist(list(xs))  # twice as fast as extend
        self.ys.fromlist(ys if isinstance(ys, list) else list(ys))
        size = self.groups.size
        self.groups.extend(xs, ys)
        too_many = len(self.xs) - RECENT
        if too_many > RECENT:
            del self.xs[:too_many], self.ys[:too_many]
        if too_many > RECENT or size != self.groups.size:
            self.generation += 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        latest = slice(-RECENT, None)
        return (self.xs[latest], self.ys[latest], self.groups) == (other.xs[latest], other.ys[latest], other.groups)

    __hash__ = None  # type: ignore[assignment]

    def _rewind(self, step: int) -> None:
        at = bisect_left(self.xs, step)
        again_from = self.groups.rewind(step)
        again = bisect_left(self.xs, again_from, hi=at)
        self.groups.extend(self.xs[again:at], self.ys[again:at])
        del self.xs[at:], self.ys[at:]
        self.generation += 1

    def buckets(self, left: float, right: float, count: int) -> list[Bucket]:
        """The values from ``left`` to ``right`` in ``count`` equal buckets; empty buckets are left out."""
        key = (left, right, count)
        if key not in self._views and len(self._views) >= _VIEWS:
            self._views.clear()
        return self._views.setdefault(key, _View(self, left, right, count)).buckets()


@dataclass
class _Groups:
    """Consecutive values in groups of ``size`` (the last may have fewer): first step, extremes and sum.

    ``count`` is the number of values.
    """

    size: int = 1
    count: int = 0
    xs: array[int] = field(default_factory=lambda: array("q"))
    lows: array[float] = field(default_factory=lambda: array("d"))
    highs: array[float] = field(default_factory=lambda: array("d"))
    sums: array[float] = field(default_factory=lambda: array("d"))

    def extend(self, xs: Sequence[int], ys: Sequence[float]) -> None:
        """Append values; merge pairs of groups when there are too many."""
        done = 0
        while done < len(ys):
            if self.count == GROUPS * self.size:
                self._halve()
            # Either completes the last group or fills the free groups.
            begun = self.count % self.size
            most = self.size - begun if begun else GROUPS * self.size - self.count
            part = slice(done, done + most)
            self._append(xs[part], ys[part], begun)
            done += most

    def _append(self, xs: Sequence[int], ys: Sequence[float], begun: int) -> None:
        self.count += len(ys)
        if begun:
            self.lows[-1] = min(self.lows[-1], *ys)
            self.highs[-1] = max(self.highs[-1], *ys)
            self.sums[-1] += sum(ys)
        elif self.size == 1:
            self.xs.extend(xs)
            for column in (self.lows, self.highs, self.sums):
                column.extend(ys)
        else:
            self.xs.extend(xs[:: self.size])
            groups = [ys[at : at + self.size] for at in range(0, len(ys), self.size)]
            self.lows.extend(map(min, groups))
            self.highs.extend(map(max, groups))
            self.sums.extend(map(sum, groups))

    def _halve(self) -> None:
        self.size *= 2
        self.xs = self.xs[::2]
        self.lows = array("d", map(min, self.lows[::2], self.lows[1::2]))
        self.highs = array("d", map(max, self.highs[::2], self.highs[1::2]))
        self.sums = array("d", map(float.__add__, self.sums[::2], self.sums[1::2]))

    def rewind(self, step: int) -> int:
        """Drop the groups that reach ``step``. Returns the first dropped step."""
        keep = bisect_left(self.xs, step)
        if keep and self.size > 1:
            keep -= 1  # the group before may reach it
        dropped = self.xs[keep] if keep < len(self.xs) else step
        del self.xs[keep:], self.lows[keep:], self.highs[keep:], self.sums[keep:]
        self.count = keep * self.size
        return dropped

    def over(self, start: int, end: int) -> tuple[float, float, float]:
        """Lowest, highest and mean value of the groups from ``start`` to before ``end``."""
        count = min(end * self.size, self.count) - start * self.size
        return min(self.lows[start:end]), max(self.highs[start:end]), sum(self.sums[start:end]) / count


class _View:
    """The buckets of one range; computes only those that new values reach."""

    def __init__(self, series: Series, left: float, right: float, count: int) -> None:
        self._series, self._left, self._count = series, left, count
        self._width = (right - left) / count
        self._restart()

    def _restart(self) -> None:
        series = self._series
        self._generation = series.generation
        self._done: list[Bucket] = []
        self._next = 0
        self._exact = bool(series.xs) and self._left >= series.xs[0]
        self._start = bisect_left(self._xs, self._left)

    @property
    def _xs(self) -> array[int]:
        return self._series.xs if self._exact else self._series.groups.xs

    def _over(self, start: int, end: int) -> tuple[float, float, float]:
        if not self._exact:
            return self._series.groups.over(start, end)
        values = self._series.ys[start:end]
        return min(values), max(values), sum(values) / len(values)

    def buckets(self) -> list[Bucket]:
        if self._generation != self._series.generation:
            self._restart()
        xs = self._xs
        found: list[Bucket] = []
        while self._next < self._count and self._start < len(xs):
            edge = self._left + (self._next + 1) * self._width
            # The right end of the range belongs to its last bucket.
            end = bisect_left(xs, edge if self._next < self._count - 1 else math.nextafter(edge, math.inf), self._start)
            if end > self._start:
                found.append(Bucket(self._next, edge - self._width / 2, *self._over(self._start, end)))
            if end == len(xs):
                break
            self._start, self._next = end, self._next + 1
            self._done += found
            found = []
        return self._done + found
