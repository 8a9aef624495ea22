"""Predicted and true classes of images, from a run's predictions.csv and splits.csv."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from statistics import pstdev
from typing import NamedTuple

from engine.files.csv_cells import PREDICTION_COLUMNS, text_cell
from engine.files.csv_tables import TableError, decoded, read_table
from engine.files.safe_open import open_regular
from engine.tasks.label_sets import SEPARATOR

MAX_IMAGES = 1000
_SEVERAL = "multilabel"
_NUMBERS = "regression"


class PredictedImage(NamedTuple):
    """One image with its true and predicted class and the prediction's confidence ("" and 0: unknown).

    With several labels per image ``true`` and ``predicted`` hold all labels, and ``label`` is the most probable one. Of
    numbers, ``label`` is the one with the largest error, and ``probability`` that error in standard deviations.
    """

    path: str
    true: str
    predicted: str
    probability: float
    label: str = ""


def confused_images(table: Path, true: str, predicted: str) -> list[PredictedImage]:
    """Images of class ``true`` predicted as ``predicted``, most confident first; none without a table."""
    found = (one for one in _predictions(table, [true, predicted]) if (one.true, one.predicted) == (true, predicted))
    return heapq.nlargest(MAX_IMAGES, found, key=lambda one: one.probability)


def misclassified_images(table: Path, classes: list[str], task: str = "single") -> list[PredictedImage]:
    """Misclassified images, most confident or largest error first; none without a table."""
    if task == _NUMBERS:
        return heapq.nlargest(MAX_IMAGES, _number_predictions(table, classes), key=lambda one: one.probability)
    read = _label_predictions if task == _SEVERAL else _predictions
    found = (one for one in read(table, classes) if one.true != one.predicted)
    return heapq.nlargest(MAX_IMAGES, found, key=lambda one: one.probability)


def images_of_class(splits: Path, label: str, task: str = "single") -> list[PredictedImage]:
    """The first images of a class in any split; ``splits``: the run's splits.csv."""
    if task == _SEVERAL:
        rows = (cells for _, cells, _ in _rows(splits, ("path", "label")))
        found = (PredictedImage(path, cell, "", 0.0, label) for path, cell in rows if label in _labels(cell, [label]))
        return list(islice(found, MAX_IMAGES))
    for written in dict.fromkeys([text_cell(label), label]):  # as version 0.1.0 wrote some
        rows = (cells for _, cells, _ in _rows(splits, ("path", "label")))
        if found := [
            PredictedImage(path, label, "", 0.0) for path, _ in islice((r for r in rows if r[1] == written), MAX_IMAGES)
        ]:
            return found
    return []


def _predictions(table: Path, classes: Sequence[str]) -> Iterator[PredictedImage]:
    """The rows of a predictions.csv whose true and predicted class are among ``classes``."""
    names: dict[str, str] = {}
    for heading, (path, true, predicted), rest in _rows(table, PREDICTION_COLUMNS):
        names = names or {_cell(name, heading): name for name in classes}
        if true in names and predicted in names:
            # The predicted class has the highest one, whatever its column is called.
            probability = max(map(_number, rest), default=0.0)
            yield PredictedImage(path, names[true], names[predicted], probability)


def _label_predictions(table: Path, classes: Sequence[str]) -> Iterator[PredictedImage]:
    """The rows of a predictions.csv with several labels per image."""
    for _, (path, true, predicted), rest in _rows(table, PREDICTION_COLUMNS):
        values = list(map(_number, rest))
        if values and len(values) == len(classes):
            probability, at = max((value, -at) for at, value in enumerate(values))
            present, found = (SEPARATOR.join(_labels(cell, classes)) for cell in (true, predicted))
            yield PredictedImage(path, present, found, probability, classes[-at])


def _number_predictions(table: Path, names: Sequence[str]) -> list[PredictedImage]:
    """The rows of a predictions.csv with numbers."""
    cells = [cells for _, cells, _ in _rows(table, PREDICTION_COLUMNS)]
    rows = [(path, one, two, _numbers(one), _numbers(two)) for path, one, two in cells]
    rows = [row for row in rows if len(row[3]) == len(row[4]) == len(names)]
    spread = [pstdev(values) or 1.0 for values in zip(*(row[3] for row in rows), strict=True)]
    found = []
    for path, true, predicted, *numbers in rows:
        errors = [abs(one - two) / scale for one, two, scale in zip(*numbers, spread, strict=True)]
        largest = max(errors)
        found.append(
            PredictedImage(path, true.lstrip("'"), predicted.lstrip("'"), largest, names[errors.index(largest)])
        )
    return found


def _numbers(cell: str) -> list[float]:
    return [_number(part) for part in cell.lstrip("'").split(";")]


def _labels(cell: str, classes: Sequence[str]) -> list[str]:
    """Those of ``classes`` that a cell lists; the first may be marked as text for spreadsheets."""
    listed = cell.split(SEPARATOR)
    marked = listed[0].removeprefix("'")
    return [name for name in classes if name in listed or (name == marked and text_cell(name) == listed[0])]


def _cell(name: str, heading: Sequence[str]) -> str:
    """A class as the table writes it: version 0.1.0 marked no names that begin with ``'=``."""
    written = text_cell(name)
    return name if written not in heading and name in heading[len(PREDICTION_COLUMNS) :] else written


def _rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """The heading, and of each row the cells in ``columns`` and those in others."""
    # A run's folder may come from a stranger: anything may lie there.
    with suppress(OSError, TableError), open_regular(table) as file:
        found = read_table(decoded(file), columns)
        places = [found.heading.index(name) for name in columns]
        for row in found.rows:
            yield (
                found.heading,
                [row.cell(at) for at in places],
                [c for at, c in enumerate(row.cells) if at not in places],
            )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0
