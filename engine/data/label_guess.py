"""Guesses from a dataset's labels what a network is to predict. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

_NUMBERS = 20  # from so many distinct numbers on, labels are measurements rather than classes
_RANKS = 10  # more whole numbers in a row are rather names, such as ids
_TOLERANCE = 0.01  # of the sum of an image's class probabilities


class Guess(NamedTuple):
    """A task, and the reason for it, "" where labels are plain names of classes."""

    task: str
    reason: str = ""


def guess_task(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Guess:
    """The task that label columns suggest; ``rows``: the cells of each image, one per column in ``names``."""
    if len(names) > 1:
        return _of_columns(names, rows)
    labels = {row[0] for row in rows}
    if example := several_labels(labels):
        return Guess("multilabel", f'labels such as "{example}" name several')
    numbers = {number(label) for label in labels}
    if None in numbers or not numbers:
        return Guess("single")
    values = [value for value in numbers if value is not None]
    whole = all(value.is_integer() for value in values)
    if whole and len(values) <= max(_NUMBERS, len(rows) // 2):
        return Guess("single", _ranks(values))
    example = min(labels, key=float)
    return Guess("regression", f"the labels are {len(values):,} numbers such as {example}")


def _ranks(values: Sequence[float]) -> str:
    """What a user should know about whole numbers as classes: they may be ranks. "" for two, and with gaps."""
    low, high = min(values), max(values)
    if not 3 <= len(values) == high - low + 1 <= _RANKS:
        return ""
    return f"the labels are the numbers {low:g} to {high:g}, which may be ranks"


def _of_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Guess:
    listed = ", ".join(names[:5])
    if all(is_flag(cell) for row in rows for cell in row):
        return Guess("multilabel", f"the columns {listed} hold 0 and 1")
    numbers = [[number(cell) for cell in row] for row in rows]
    if any(value is None for row in numbers for value in row):
        return Guess("multilabel", f"there are {len(names)} label columns")
    if all(is_distribution([value or 0.0 for value in row]) for row in numbers):
        return Guess("single", f"the columns {listed} hold the probability of each class")
    return Guess("regression", f"the columns {listed} hold numbers")


def number(cell: str) -> float | None:
    """The number that a cell holds, None for text, NaN and infinity."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def is_flag(cell: str) -> bool:
    """Whether a cell is 0 or 1."""
    return number(cell) in (0.0, 1.0)


def is_share(cell: str) -> bool:
    """Whether a cell is a number from 0 to 1."""
    value = number(cell)
    return value is not None and 0 <= value <= 1


def is_distribution(values: Sequence[float]) -> bool:
    """Whether numbers are the probabilities of an image's classes."""
    return min(values) >= 0 and abs(sum(values) - 1) <= _TOLERANCE


def several_labels(labels: Collection[str]) -> str:
    """A label that consists of several, such as "clear;water"; "" where there is none."""
    return _separated(labels)[1]


def label_separator(labels: Collection[str]) -> str:
    """What stands between the labels in a cell; "" where each cell holds one."""
    distinct = set(labels)
    return _separated(distinct)[0] or next((mark for mark in ";|," if any(mark in label for label in distinct)), "")


def _separated(labels: Collection[str]) -> tuple[str, str]:
    """A separator, and a label that consists of several.

    Semicolons and bars separate labels as soon as a part occurs in another label. Commas and blanks also occur in
    names, so that every part has to be a label by itself.
    """
    distinct = {*labels} - {""}
    for separator in (";", "|", ",", " "):
        joined = {label: [part.strip() for part in label.split(separator)] for label in distinct if separator in label}
        counts = Counter(part for parts in joined.values() for part in set(parts))
        alone = distinct - joined.keys()
        for label, parts in sorted(joined.items()):
            if separator in ";|" and any(part in alone or counts[part] > 1 for part in parts):
                return separator, label
            if separator in ", " and all(part in alone for part in parts):
                return separator, label
    return "", ""
