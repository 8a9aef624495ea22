"""Reads one class per image, or the probabilities of the classes, from columns of labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Target, Targets
from engine.data.label_guess import is_distribution, is_flag, is_share, number
from engine.files.text_lists import listed

PAIR = ("0", "1")
"""The two classes of a column with the probability of one: then tables of 0 and 1 have the same classes."""


def read_classes(columns: LabelColumns, _data: DataConfig) -> Targets:
    """A class per image, or soft labels. Raises LabelError.

    - One column of names: the cells are the classes.
    - One column of numbers from 0 to 1, not only 0 and 1: the probability of the class "1".
    - Several columns: the probability of each class. A table of 0 and 1 names one class per image.
    """
    if len(columns.names) > 1:
        return _of_columns(columns)
    cells = [row[0] for row in columns.rows]
    distinct = set(cells)
    if all(map(is_share, distinct)) and not all(map(is_flag, distinct)):
        return _of_probabilities(columns.names[0], list(map(float, cells)))
    classes = sorted(distinct)
    place = {name: at for at, name in enumerate(classes)}
    return Targets(classes, [Target(place[cell]) for cell in cells])


def _of_probabilities(name: str, values: Sequence[float]) -> Targets:
    note = (
        f'labels are soft: the column {name} holds the probability of the class "{PAIR[1]}", and the other class is '
        f'"{PAIR[0]}"; {_MOST_PROBABLE}'
    )
    return Targets(list(PAIR), [_soft(PAIR, (1 - value, value)) for value in values], note)


def _of_columns(columns: LabelColumns) -> Targets:
    names = columns.names
    rows = [_distribution(names, row, at) for at, row in enumerate(columns.rows)]
    if all(max(row) == 1 for row in rows):
        return Targets(list(names), [Target(row.index(1)) for row in rows])
    note = f"labels are soft: the columns {listed(names, 5)} hold the probability of each class; {_MOST_PROBABLE}"
    return Targets(list(names), [_soft(names, row) for row in rows], note)


def _distribution(names: Sequence[str], row: Sequence[str], at: int) -> list[float]:
    """An image's probabilities, whose sum is 1. Raises LabelError."""
    values: list[float] = []
    for name, cell in zip(names, row, strict=True):
        value = number(cell)
        if value is None or value < 0:
            raise LabelError(
                f'the column {name} holds "{cell}"; several columns for one class per image hold the probability of '
                "each class, so set data.label_column to one column, or data.task to another task",
                at,
            )
        values.append(value)
    total = sum(values)
    if not is_distribution(values):
        raise LabelError(
            f"the probabilities of the {len(names)} classes sum to {total:g}; make them sum to 1, or set data.task to "
            "another task",
            at,
        )
    return [value / total for value in values]


def _soft(names: Sequence[str], probabilities: Sequence[float]) -> Target:
    label = max(range(len(names)), key=probabilities.__getitem__)  # of equal ones the first
    return Target(label, tuple(probabilities), names[label])


_MOST_PROBABLE = "the class of an image is its most probable one"
