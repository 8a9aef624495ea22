"""Reads one of several ordered classes per image from a column. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Target, Targets

_LEADING_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_LISTED = 5


def read_ranks(columns: LabelColumns, data: DataConfig) -> Targets:
    """The classes in the order of ``data.classes``, else of the numbers that they are or begin with.

    Raises LabelError where neither gives an order, and for a label that ``data.classes`` lacks.
    """
    if len(columns.names) > 1:
        raise LabelError(f"ranks come from one column, and there are {len(columns.names)}; set data.label_column to it")
    cells = [row[0] for row in columns.rows]
    classes = list(dict.fromkeys(data.classes)) or _by_number(set(cells))
    place = {name: at for at, name in enumerate(classes)}
    for at, cell in enumerate(cells):
        if cell not in place:
            raise LabelError(f'"{cell}" is not in data.classes ({_listed(classes)}); add it in its place', at)
    return Targets(classes, [Target(place[cell]) for cell in cells])


def _by_number(names: set[str]) -> list[str]:
    numbers = {name: float(found[0]) for name in names if (found := _LEADING_NUMBER.match(name))}
    if len(numbers) < len(names) or len(set(numbers.values())) < len(names):
        raise LabelError(
            f"nothing gives the order of the classes {_listed(sorted(names))}; set data.classes to all of them, lowest "
            "first"
        )
    return sorted(names, key=numbers.__getitem__)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_LISTED]) + (f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else "")
