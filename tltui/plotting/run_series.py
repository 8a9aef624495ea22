"""The series of one run by name, from its folded events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Generic

from engine.runs import events as p
from engine.runs.state import RunState, StageChanges
from engine.runs.time_series import Series
from tltui.plotting.series_feed import EventSeries, T

# More lines than this can't be told apart in a few rows; the highest and the lowest bound the others.
MAX_LINES = 3


class RunSeries:
    """The series of one run. A series is built from the events once a panel shows it."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._epochs: dict[str, EventSeries[p.Epoch]] = {}
        self._changes = NamedSeries[StageChanges](attrgetter("stages"))
        self._similarities = NamedSeries[p.Forgetting](attrgetter("cka"))
        self._agreement = EventSeries[p.Forgetting](attrgetter("agreement"))

    def epochs(self, name: str) -> Series:
        """A field of the epochs."""
        return self._epochs.setdefault(name, EventSeries(attrgetter(name))).follow(self.state.epochs)

    def train_metric(self, name: str) -> Series:
        """A metric of the training images by epoch."""
        return self._metric(f"train {name}", lambda epoch: epoch.train_metric(name))

    def val_metric(self, name: str) -> Series:
        """A metric of the validation images by epoch."""
        return self._metric(f"val {name}", lambda epoch: epoch.val_metric(name))

    def _metric(self, key: str, value: Callable[[p.Epoch], float | None]) -> Series:
        return self._epochs.setdefault(key, EventSeries(value)).follow(self.state.epochs)

    def learning_rates(self) -> dict[str, Series]:
        """The learning rate of each parameter group."""
        last, rates = self.state.steps.last, self.state.steps.rates()
        return {group: rates[group] for group in _highest(rates, last.lr if last else {})}

    def weight_changes(self) -> dict[str, Series]:
        """The distance of each stage's weights from the initial ones, relative to their norm."""
        return self._changes.follow(self.state.changes)

    def similarities(self) -> dict[str, Series]:
        """The linear CKA of each stage's features with the pretrained ones, 0 to 1."""
        return self._similarities.follow(self.state.forgetting)

    def agreement(self) -> Series:
        """The share of images on which the pretrained classifier keeps its top-1 prediction."""
        return self._agreement.follow(self.state.forgetting)


class NamedSeries(Generic[T]):
    """Series by name that follow a growing list of events. Each event has a value for some of the names."""

    def __init__(self, values: Callable[[T], Mapping[str, float]]) -> None:
        self._values = values
        self._series: dict[str, EventSeries[T]] = {}
        self._read = 0

    def follow(self, events: Sequence[T]) -> dict[str, Series]:
        """At most ``MAX_LINES`` series, the one with the highest latest value first."""
        for name in set().union(*map(self._values, events[self._read :])) - self._series.keys():
            self._series[name] = EventSeries(self._value_of(name))
        self._read = len(events)
        latest = self._values(events[-1]) if events else {}
        return {name: self._series[name].follow(events) for name in _highest(self._series, latest)}

    def _value_of(self, name: str) -> Callable[[T], float | None]:
        return lambda event: self._values(event).get(name)


def _highest(names: Iterable[str], latest: Mapping[str, float]) -> list[str]:
    """At most ``MAX_LINES`` names: those with the highest values, and last the one with the lowest."""
    found = sorted(names, key=lambda name: (-latest.get(name, 0.0), name))
    return [*found[: MAX_LINES - 1], found[-1]] if len(found) > MAX_LINES else found
