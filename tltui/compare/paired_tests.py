"""Paired tests of two runs on the same images: McNemar's for classes, Wilcoxon's signed-rank test for errors."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.files.csv_cells import text_cell
from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.safe_open import open_regular
from engine.runs.events import Evaluated

_NEEDED = ("path", "true", "predicted")
_ROUNDING = 1e-4  # of a standard deviation, by which a true number may differ between two tables


class NotComparable(Exception):
    """The reason why a run's predictions can't be compared with those of another."""


class Prediction(NamedTuple):
    """A run's prediction for one image, from predictions.csv; ``error``: see ``ErrorOf``."""

    path: str
    true: str
    error: float


ErrorOf = Callable[[str, str], float]
"""The true and the predicted cell of an image → the size of the mistake, 0 for none. Raises ValueError."""


def wrong(true: str, predicted: str) -> float:
    """0 for a correct class or for exactly the correct labels, else 1."""
    return float(true != predicted)


def rank_error(classes: Sequence[str]) -> ErrorOf:
    """The distance between two of the ordered ``classes``."""
    names = [text_cell(name) for name in classes]
    return lambda true, predicted: float(abs(names.index(true) - names.index(predicted)))


def number_error(scales: Sequence[float]) -> ErrorOf:
    """The mean absolute error of an image's numbers, each in its standard deviation, of ``scales``."""

    def error(true: str, predicted: str) -> float:
        pairs = zip(_numbers(true), _numbers(predicted), scales, strict=True)
        errors = [abs(one - other) / (scale or 1.0) for one, other, scale in pairs]
        return sum(errors) / len(errors)

    return error


def error_of_task(task: str, evaluated: Evaluated | None) -> ErrorOf:
    """How large a mistake is; ``evaluated``: of the best run, with the order of ranks and the spread of numbers.

    Raises NotComparable where the task needs it.
    """
    if task not in SIGNED_RANK:
        return wrong
    if evaluated is None:
        raise NotComparable("has not been evaluated")
    if task == "ordinal":
        return rank_error(evaluated.classes)
    return number_error([of.std for of in evaluated.numbers])


SIGNED_RANK = ("ordinal", "regression")
"""The tasks whose mistakes have sizes, so that the test is Wilcoxon's."""


class Differences(NamedTuple):
    """The errors of this run less those of another: numbers of images with a smaller one here, and with a larger one.

    ``values``: of all images.
    """

    only_this: int
    only_other: int
    values: array[float]


def read_predictions(table: Path, error_of: ErrorOf = wrong) -> Iterator[Prediction]:
    """The rows of a predictions.csv, one by one. Raises NotComparable where it is missing or damaged."""
    try:
        with open_regular(table) as file:
            found = read_table(decoded(file), _NEEDED)
            path, true, predicted = (found.heading.index(name) for name in _NEEDED)
            for _, row in found.rows:
                yield Prediction(row[path], row[true], error_of(row[true], row[predicted]))
    except FileNotFoundError:
        raise NotComparable("has no predictions.csv") from None
    except OSError as error:
        raise NotComparable(f"its predictions.csv can't be read ({error.strerror})") from None
    except (TableError, IndexError, ValueError):  # no UTF-8, other columns, a torn row, other classes
        raise NotComparable("its predictions.csv is damaged or of another task") from None


class Reference:
    """The predictions that others are compared with; ``error_of`` says how far two true cells are apart, too."""

    def __init__(self, predictions: Iterator[Prediction], error_of: ErrorOf = wrong) -> None:
        """Raises NotComparable where ``predictions`` are empty or name an image twice."""
        self._places: dict[str, int] = {}
        self._true: list[str] = []
        self._errors = array("d")
        self._error_of = error_of
        for path, true, error in predictions:
            if self._places.setdefault(path, len(self._true)) != len(self._true):
                raise NotComparable("its predictions.csv names an image twice")
            self._true.append(true)
            self._errors.append(error)
        if not self._true:
            raise NotComparable("its predictions.csv holds no image")

    def __len__(self) -> int:
        return len(self._true)

    def differences(self, predictions: Iterator[Prediction]) -> Differences:
        """The errors of ``predictions`` less those of these.

        Raises NotComparable unless both have exactly the same images and true classes or numbers.
        """
        seen = bytearray(len(self))
        values = array("d", bytes(8 * len(self)))
        for path, true, error in predictions:
            at = self._places.get(path)
            if at is None or seen[at] or self._error_of(self._true[at], true) > _ROUNDING:
                raise NotComparable("was not evaluated on the same images")
            seen[at] = 1
            values[at] = error - self._errors[at]
        if not all(seen):
            raise NotComparable("was not evaluated on the same images")
        return Differences(sum(one < 0 for one in values), sum(one > 0 for one in values), values)


def mcnemar(only_this: int, only_other: int) -> float:
    """The p value of McNemar's exact two-sided test that both accuracies are equal.

    Under the null hypothesis an image that only one run gets right falls to either with probability 1/2: a binomial
    test. 1 without such images. McNemar, Note on the sampling error of the difference between correlated proportions
    or percentages, Psychometrika 12 (1947).
    """
    disagree = only_this + only_other
    if not disagree:
        return 1.0
    from scipy.stats import binomtest  # its import takes half a second

    return float(binomtest(only_this, disagree, 0.5).pvalue)


def signed_rank(values: Sequence[float]) -> float:
    """The p value of Wilcoxon's signed-rank test that differences are symmetric around 0; 1 where all are 0.

    Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """
    if not any(values):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(values).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _numbers(cell: str) -> list[float]:
    """Raises ValueError where a cell holds something else."""
    values = [float(part) for part in cell.removeprefix("'").split(";")]
    if not all(map(math.isfinite, values)):
        raise ValueError("not finite")
    return values


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
