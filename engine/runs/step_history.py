"""The steps of a run: the latest as events, all of them as series of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Literal

from engine.runs.events import Step
from engine.runs.time_series import Series

Metric = Literal["loss", "grad_norm"]
_METRICS: tuple[Metric, ...] = ("loss", "grad_norm")
KEPT = 256  # latest steps that ``recent`` holds at least
_BLOCK = 1024  # filing many steps together takes a third of the time


class Steps:
    """The steps of a run; ``len`` counts all of them."""

    def __init__(self) -> None:
        self.recent: list[Step] = []
        self._before = 0  # steps dropped from ``recent``
        self._filed = 0  # steps of ``recent`` that are in the series
        self._metrics: dict[Metric, Series] = {name: Series() for name in _METRICS}
        self._rates: dict[str, Series] = {}

    def append(self, step: Step) -> None:
        """Append a step."""
        self.extend((step,))

    def extend(self, steps: Iterable[Step]) -> None:
        """Append steps."""
        self.recent.extend(steps)
        if len(self.recent) >= KEPT + _BLOCK:
            self._file()
            self._before += len(self.recent) - KEPT
            del self.recent[:-KEPT]
            self._filed = KEPT

    @property
    def last(self) -> Step | None:
        """The latest step."""
        return self.recent[-1] if self.recent else None

    def series(self, name: Metric) -> Series:
        """A metric by step, without non-finite values."""
        self._file()
        return self._metrics[name]

    def rates(self) -> dict[str, Series]:
        """The learning rate by step, for each parameter group so far."""
        self._file()
        return self._rates

    def _file(self) -> None:
        new = self.recent[self._filed :]
        if not new:
            return
        self._filed = len(self.recent)
        places: Sequence[int] = range(new[0].step, new[-1].step + 1)
        if len(places) != len(new):  # a resumed run repeats some steps
            places = [step.step for step in new]
        for name, series in self._metrics.items():
            _extend(series, places, list(map(attrgetter(name), new)))
        rates = [step.lr for step in new]
        for group in sorted(set().union(*rates)):
            series = self._rates.setdefault(group, Series())
            _extend(series, places, list(map(dict.get, rates, repeat(group))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Steps):
            return NotImplemented
        self._file()
        other._file()
        mine = (len(self), self.recent[-KEPT:], self._metrics, self._rates)
        return mine == (len(other), other.recent[-KEPT:], other._metrics, other._rates)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return self._before + len(self.recent)


def _extend(series: Series, places: Sequence[int], values: list[float | None]) -> None:
    if None in values:
        there = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        series.extend([place for place, _ in there], [value for _, value in there])
    else:
        series.extend(places, values)  # type: ignore[arg-type]
