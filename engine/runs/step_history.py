"""The steps of a run: the last ones as they are, all of them as series that do not grow without end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Literal

from engine.runs.events import Step
from engine.runs.time_series import Series

Figure = Literal["loss", "grad_norm"]
_FIGURES: tuple[Figure, ...] = ("loss", "grad_norm")
KEPT = 256  # steps at least, once there were so many
_AT_ONCE = 1024  # many at once take a third of the time


class Steps:
    """Steps to add to; ``len`` counts all there were."""

    def __init__(self) -> None:
        self.recent: list[Step] = []
        self._before = 0  # steps that are no longer in ``recent``
        self._filed = 0  # of ``recent``
        self._figures: dict[Figure, Series] = {name: Series() for name in _FIGURES}
        self._rates: dict[str, Series] = {}

    def append(self, step: Step) -> None:
        """Take in the next."""
        self.extend((step,))

    def extend(self, steps: Iterable[Step]) -> None:
        """Take in the next ones."""
        self.recent.extend(steps)
        if len(self.recent) >= KEPT + _AT_ONCE:
            self._file()
            self._before += len(self.recent) - KEPT
            del self.recent[:-KEPT]
            self._filed = KEPT

    @property
    def last(self) -> Step | None:
        """The latest."""
        return self.recent[-1] if self.recent else None

    def series(self, name: Figure) -> Series:
        """A figure of each step; without those where it was not finite."""
        self._file()
        return self._figures[name]

    def rates(self) -> dict[str, Series]:
        """The learning rate of each parameter group that ever had one."""
        self._file()
        return self._rates

    def _file(self) -> None:
        new = self.recent[self._filed :]
        if not new:
            return
        self._filed = len(self.recent)
        places: Sequence[int] = range(new[0].step, new[-1].step + 1)
        if len(places) != len(new):  # some were taken back: steps count by one
            places = [step.step for step in new]
        for name, series in self._figures.items():
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
        mine = (len(self), self.recent[-KEPT:], self._figures, self._rates)
        return mine == (len(other), other.recent[-KEPT:], other._figures, other._rates)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return self._before + len(self.recent)


def _extend(series: Series, places: Sequence[int], values: list[float | None]) -> None:
    if None in values:
        there = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        series.extend([place for place, _ in there], [value for _, value in there])
    else:
        series.extend(places, values)  # type: ignore[arg-type]
