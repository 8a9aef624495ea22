"""McNemar's test: whether two classifiers that saw the same images differ in how often they are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.safe_open import open_regular

_NEEDED = ("path", "true", "predicted")


class NotComparable(Exception):
    """Why a run's answers can't be held against those of another."""


class Prediction(NamedTuple):
    """A run's answer to one image, as predictions.csv has it."""

    path: str
    true: str
    right: bool


class Discordant(NamedTuple):
    """Numbers of images that one run alone is right on: ``only_this`` run, ``only_other``, the one compared with."""

    only_this: int
    only_other: int


def read_predictions(table: Path) -> Iterator[Prediction]:
    """The rows of a predictions.csv, one after the other. Raises NotComparable where that is no such table."""
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), _NEEDED)
            path, true, predicted = (found.heading.index(name) for name in _NEEDED)
            for _, row in found.rows:
                yield Prediction(row[path], row[true], row[true] == row[predicted])
    except FileNotFoundError:
        raise NotComparable("has no predictions.csv") from None
    except OSError as error:
        raise NotComparable(f"its predictions.csv can't be read ({error.strerror})") from None
    except (TableError, IndexError):  # no UTF-8, other columns, a torn row
        raise NotComparable("its predictions.csv is damaged") from None


class Reference:
    """The answers that others are compared with."""

    def __init__(self, answers: Iterator[Prediction]) -> None:
        """Raises NotComparable where there are none, or two for one image."""
        self._places: dict[str, int] = {}
        self._true: list[str] = []
        self._right = bytearray()
        for path, true, right in answers:
            if self._places.setdefault(path, len(self._true)) != len(self._true):
                raise NotComparable("its predictions.csv names an image twice")
            self._true.append(true)
            self._right.append(right)
        if not self._true:
            raise NotComparable("its predictions.csv holds no image")

    def __len__(self) -> int:
        return len(self._true)

    def discordant(self, answers: Iterator[Prediction]) -> Discordant:
        """Count where ``answers`` and these differ in being right.

        Raises NotComparable unless they are about exactly the same images with the same true classes.
        """
        seen = bytearray(len(self))
        only_this = only_other = 0
        for path, true, right in answers:
            at = self._places.get(path)
            if at is None or self._true[at] != true or seen[at]:
                raise NotComparable("was not evaluated on the same images")
            seen[at] = 1
            only_this += right and not self._right[at]
            only_other += bool(self._right[at]) and not right
        if not all(seen):
            raise NotComparable("was not evaluated on the same images")
        return Discordant(only_this, only_other)


def p_value(discordant: Discordant) -> float:
    """The exact two-sided test that both runs are right equally often, from the images on which they disagree.

    Under the null hypothesis a discordant image falls to either side with probability 1/2, so this is a binomial
    test; 1 where they disagree on none. McNemar, Note on the sampling error of the difference between correlated
    proportions or percentages, Psychometrika 12 (1947).
    """
    disagree = sum(discordant)
    if not disagree:
        return 1.0
    from scipy.stats import binomtest  # takes half a second that no other command should wait for

    return float(binomtest(discordant.only_this, disagree, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being several, in their order, so that the chance of any false alarm is that of one test.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected
