"""McNemar's test: whether two classifiers differ in accuracy on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.safe_open import open_regular

_NEEDED = ("path", "true", "predicted")


class NotComparable(Exception):
    """The reason why a run's predictions can't be compared with those of another."""


class Prediction(NamedTuple):
    """A run's prediction for one image, from predictions.csv."""

    path: str
    true: str
    correct: bool


class Discordant(NamedTuple):
    """Numbers of images that only this run, and only the other run, classifies correctly."""

    only_this: int
    only_other: int


def read_predictions(table: Path) -> Iterator[Prediction]:
    """The rows of a predictions.csv, one by one. Raises NotComparable where it is missing or damaged."""
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
    """The predictions that others are compared with."""

    def __init__(self, predictions: Iterator[Prediction]) -> None:
        """Raises NotComparable where ``predictions`` are empty or name an image twice."""
        self._places: dict[str, int] = {}
        self._true: list[str] = []
        self._correct = bytearray()
        for path, true, correct in predictions:
            if self._places.setdefault(path, len(self._true)) != len(self._true):
                raise NotComparable("its predictions.csv names an image twice")
            self._true.append(true)
            self._correct.append(correct)
        if not self._true:
            raise NotComparable("its predictions.csv holds no image")

    def __len__(self) -> int:
        return len(self._true)

    def discordant(self, predictions: Iterator[Prediction]) -> Discordant:
        """Count the images that only one of ``predictions`` and these gets right.

        Raises NotComparable unless both have exactly the same images and true classes.
        """
        seen = bytearray(len(self))
        only_this = only_other = 0
        for path, true, correct in predictions:
            at = self._places.get(path)
            if at is None or self._true[at] != true or seen[at]:
                raise NotComparable("was not evaluated on the same images")
            seen[at] = 1
            only_this += correct and not self._correct[at]
            only_other += bool(self._correct[at]) and not correct
        if not all(seen):
            raise NotComparable("was not evaluated on the same images")
        return Discordant(only_this, only_other)


def p_value(discordant: Discordant) -> float:
    """The p value of the exact two-sided test that both accuracies are equal.

    Under the null hypothesis a discordant image falls to either side with probability 1/2: a binomial test. 1
    without discordant images. McNemar, Note on the sampling error of the difference between correlated
    proportions or percentages, Psychometrika 12 (1947).
    """
    disagree = sum(discordant)
    if not disagree:
        return 1.0
    from scipy.stats import binomtest  # its import takes half a second

    return float(binomtest(discordant.only_this, disagree, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values with Holm's step-down correction, in their order: it controls the family-wise error rate.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected
