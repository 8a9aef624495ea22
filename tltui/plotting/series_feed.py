"""Series that follow a growing list of events, and their smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from engine.runs.time_series import Bucket, Series


def smoothed(buckets: Sequence[Bucket], span: float) -> list[tuple[int, float]]:
    """An exponential moving average over bucket means, as (index of the bucket, value).

    ``span`` is the time constant in buckets. The start is bias-corrected, as in Adam.
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


class EventSeries(Generic[T]):
    """A series that follows a growing list of events; ``read`` gives the value of an event, None without one."""

    def __init__(self, read: Callable[[T], float | None]) -> None:
        self.series = Series()
        self._read = read
        self._taken = 0

    def follow(self, events: Sequence[T]) -> Series:
        """The series, extended with the events since the last call."""
        new = events[self._taken :]
        self._taken = len(events)
        if not new:
            return self.series
        found = [(event.step, value) for event in new if (value := self._read(event)) is not None]
        self.series.extend([step for step, _ in found], [value for _, value in found])
        return self.series
