"""Escapes CSV cells, because spreadsheets run a cell that begins like a formula. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

PREDICTION_COLUMNS = ("path", "true", "predicted")
"""The first columns of predictions.csv; the classes follow in their order."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def path_cell(path: str) -> str:
    """Escape a path so that it is no formula but still a valid path: ``=x.png`` → ``./=x.png``."""
    return f"./{path}" if path.startswith(_FORMULA) else path


def text_cell(text: str) -> str:
    """Escape text so that it is no formula, by a leading quote as in spreadsheets: ``=1+1`` → ``'=1+1``.

    Numbers stay. Different texts stay different: ``'=1+1`` → ``''=1+1``.
    """
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) and not _is_number(text) else text


def class_columns(classes: Sequence[str]) -> list[str]:
    """The column names of the class probabilities in predictions.csv: the class names.

    A name that equals another column's, apart from blanks, becomes ``p(NAME)``, or ``p(NAME)#2`` …
    """
    taken = {_without_blanks(name) for name in PREDICTION_COLUMNS}
    columns: dict[int, str] = {}
    plain = [text_cell(name) for name in classes]
    for at in sorted(range(len(plain)), key=lambda at: plain[at] != _without_blanks(plain[at])):
        if (key := _without_blanks(plain[at])) and key not in taken:
            taken.add(key)
            columns[at] = plain[at]
    for at, name in enumerate(plain):
        if at not in columns:
            names = itertools.chain([f"p({name})"], (f"p({name})#{number}" for number in itertools.count(2)))
            columns[at] = next(name for name in names if _without_blanks(name) not in taken)
            taken.add(_without_blanks(columns[at]))
    return [columns[at] for at in range(len(plain))]


def _without_blanks(text: str) -> str:
    return " ".join(text.split())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text and "_" not in text
