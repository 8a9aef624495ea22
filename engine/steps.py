"""The steps of a run in columns: a tenth of the memory that an object for each would take."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import overload

from engine.protocol import NonFinite, Step

_AT_ONCE = 4096
_COUNTS = ("seq", "step", "epoch")
_NUMBERS = ("time", "loss", "grad_norm", "images_per_second")


class Steps(Sequence[Step]):
    """A list of steps to append to. Each is made anew when asked for, so that changing one changes nothing here."""

    def __init__(self) -> None:
        self._counts: dict[str, array[int]] = {name: array("q") for name in _COUNTS}
        self._numbers: dict[str, array[float]] = {name: array("d") for name in _NUMBERS}
        self._rates: dict[str, array[float]] = {}
        self._nonfinite: dict[int, NonFinite] = {}
        self._new: list[Step] = []

    def append(self, step: Step) -> None:
        """Take in the next."""
        self._new.append(step)
        if len(self._new) >= _AT_ONCE:
            self._file()

    def _file(self) -> None:
        """Move what is new to the columns; many at once take a third of the time."""
        new, filed = self._new, len(self._counts["seq"])
        if not new:
            return
        self._new = []
        for name, counts in self._counts.items():
            counts.extend(map(attrgetter(name), new))
        for name, numbers in self._numbers.items():
            numbers.extend(_as_numbers(list(map(attrgetter(name), new))))
        rates_of = [step.lr for step in new]
        for group in sorted(set().union(*rates_of) - self._rates.keys()):
            self._rates[group] = array("d", [math.nan]) * filed
        for group, rates in self._rates.items():
            rates.extend(_as_numbers([of.get(group) for of in rates_of]))
        self._nonfinite |= {filed + at: step.nonfinite for at, step in enumerate(new) if step.nonfinite is not None}

    @property
    def groups(self) -> list[str]:
        """The parameter groups that ever had a rate."""
        self._file()
        return list(self._rates)

    def numbers(self, name: str, start: int = 0) -> Sequence[float]:
        """A field of each step from position ``start`` on; NaN where it was not finite."""
        self._file()
        return self._numbers[name][start:]

    def rates(self, group: str, start: int = 0) -> Sequence[float]:
        """The rate of a parameter group at each step from position ``start`` on; NaN where it had none."""
        self._file()
        return self._rates[group][start:]

    def places(self, start: int = 0) -> Sequence[int]:
        """``step`` of each from position ``start`` on."""
        self._file()
        return self._counts["step"][start:]

    def __len__(self) -> int:
        return len(self._counts["seq"]) + len(self._new)

    @overload
    def __getitem__(self, at: int) -> Step: ...
    @overload
    def __getitem__(self, at: slice) -> list[Step]: ...
    def __getitem__(self, at: int | slice) -> Step | list[Step]:
        if isinstance(at, slice):
            return [self._at(i) for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self._at(at % len(self))

    def __iter__(self) -> Iterator[Step]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Steps):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _at(self, at: int) -> Step:
        self._file()
        numbers = {name: _none_for_nan(column[at]) for name, column in self._numbers.items()}
        return Step(
            **{name: column[at] for name, column in self._counts.items()},  # type: ignore[arg-type]
            **numbers,  # type: ignore[arg-type]
            lr={group: rates[at] for group, rates in self._rates.items() if not math.isnan(rates[at])},
            nonfinite=self._nonfinite.get(at),
        )


def _as_numbers(values: Sequence[float | None]) -> array[float]:
    """NaN for None."""
    try:
        return array("d", values)  # type: ignore[arg-type]  # fails on None, much faster than a search for it
    except TypeError:
        return array("d", [math.nan if value is None else value for value in values])


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
