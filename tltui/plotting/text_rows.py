"""Rows of styled text: cut to a width, and placed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size

from tltui.plotting.plot import Span

Row = list[Span]

GAP = 2
"""Cells between columns."""


def width_of(row: Row) -> int:
    """In cells."""
    return sum(cell_len(text) for text, _ in row)


def cut(row: Row, width: int) -> Row:
    """The row cut to at most ``width`` cells."""
    found: Row = []
    for text, style in row:
        if width <= 0:
            break
        part = text if cell_len(text) <= width else set_cell_size(text, width)
        found.append((part, style))
        width -= cell_len(part)
    return found


def fitted(row: Row, width: int) -> Row:
    """The row cut or padded to exactly ``width`` cells."""
    found = cut(row, width)
    rest = width - width_of(found)
    return [*found, (" " * rest, "axis")] if rest else found


def beside(columns: Sequence[Sequence[Row]], width: int) -> list[Row]:
    """Columns of rows side by side, all but the last ``width`` cells wide."""
    rows: list[Row] = []
    for parts in zip_longest(*columns, fillvalue=list[Span]()):
        row: Row = []
        for part in parts[:-1]:
            row += fitted(part, width + GAP)
        rows.append(row + list(parts[-1]))
    return rows


def changes(before: Row, after: Row) -> list[tuple[int, int]]:
    """The range of columns in which two rows of one width differ; empty if they are equal."""
    if before == after:
        return []
    if any(cell_len(text) != len(text) for text, _ in before + after):
        return [(0, width_of(after))]
    old = [(character, style) for text, style in before for character in text]
    new = [(character, style) for text, style in after for character in text]
    differ = [at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
    return [(differ[0], differ[-1] + 1)] if differ else []
