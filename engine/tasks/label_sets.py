"""Reads any number of labels per image from one column or several. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Target, Targets
from engine.data.label_guess import is_flag, label_separator

SEPARATOR = ";"
"""Between the labels of an image, in tables that tltui writes."""
_COMMON = 20  # images from which on a combination of labels is kept in proportion by itself


def read_label_sets(columns: LabelColumns, _data: DataConfig) -> Targets:
    """Several labels in a cell, such as "a;b", or a column of 0 and 1 per label. Raises LabelError."""
    classes, sets = _flags(columns) if len(columns.names) > 1 else _listed(columns)
    strata = _strata(sets)
    targets = [
        Target(
            stratum,
            tuple(float(at in members) for at in range(len(classes))),
            SEPARATOR.join(classes[at] for at in sorted(members)),
        )
        for stratum, members in zip(strata, sets, strict=True)
    ]
    return Targets(classes, targets)


def _listed(columns: LabelColumns) -> tuple[list[str], list[set[int]]]:
    """The labels, and those of each image, from cells that list them."""
    cells = [row[0] for row in columns.rows]
    separator = label_separator(cells)
    parts = [[part.strip() for part in cell.split(separator)] if separator else [cell.strip()] for cell in cells]
    classes = sorted({part for row in parts for part in row if part})
    place = {name: at for at, name in enumerate(classes)}
    return classes, [{place[part] for part in row if part} for row in parts]


def _flags(columns: LabelColumns) -> tuple[list[str], list[set[int]]]:
    """The labels, and those of each image, from a column of 0 and 1 per label."""
    for at, row in enumerate(columns.rows):
        for name, cell in zip(columns.names, row, strict=True):
            if not is_flag(cell):
                raise LabelError(f'the column {name} holds "{cell}"; a column per label holds 0 and 1', at)
    return list(columns.names), [{at for at, cell in enumerate(row) if float(cell)} for row in columns.rows]


def _strata(sets: Sequence[set[int]]) -> list[int]:
    """What a stratified split keeps in proportion: common combinations of labels, else the image's rarest label."""
    combinations = Counter(frozenset(members) for members in sets)
    single = Counter(chain.from_iterable(sets))
    keys: dict[object, int] = {}
    strata = []
    for members in sets:
        combination = frozenset(members)
        common = combinations[combination] >= _COMMON or not members
        key = combination if common else min(members, key=lambda at: (single[at], at))
        strata.append(keys.setdefault(key, len(keys)))
    return strata
