"""Reads one or more numbers per image from columns. Imports no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from engine.config.schema import DataConfig
from engine.config.targets import LabelColumns, LabelError, Target, Targets
from engine.data.label_guess import number

_STRATA = 10
_LEAST = 20  # images in a stratum, so that a share of them is left for validation


def read_numbers(columns: LabelColumns, _data: DataConfig) -> Targets:
    """A number per image and column. Raises LabelError for other text, and for a column of equal numbers."""
    rows = [_numbers(at, columns.names, row) for at, row in enumerate(columns.rows)]
    for name, values in zip(columns.names, zip(*rows, strict=True), strict=True):
        if min(values) == max(values):
            raise LabelError(f"the column {name} holds {values[0]:g} for all images; leave it out of data.label_column")
    strata = _strata([row[0] for row in rows])
    targets = [
        Target(stratum, numbers, "; ".join(cells))
        for stratum, numbers, cells in zip(strata, rows, columns.rows, strict=True)
    ]
    return Targets(list(columns.names), targets)


def _numbers(at: int, names: Sequence[str], cells: Sequence[str]) -> tuple[float, ...]:
    values: list[float] = []
    for name, cell in zip(names, cells, strict=True):
        value = number(cell)
        if value is None:
            raise LabelError(
                f'the column {name} holds "{cell}", which is no number; correct it, or remove the image', at
            )
        values.append(value)
    return tuple(values)


def _strata(values: Sequence[float]) -> list[int]:
    """Parts of equal size by value, which a stratified split keeps in proportion; equal values are in one part."""
    ascending = sorted(values)
    parts = min(_STRATA, max(1, len(values) // _LEAST))
    return [bisect_left(ascending, value) * parts // len(values) for value in values]
