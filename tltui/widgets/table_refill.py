"""Refills a table and keeps its scroll position and cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.content import Content
from textual.widgets import DataTable


def refill(
    table: DataTable[Content],
    columns: Mapping[str, tuple[str, int]],
    rows: Mapping[str, Sequence[Content]],
    cursor: str | None,
) -> None:
    """Replace columns (heading, width) and rows of ``table``, both by key.

    Keeps the horizontal scroll; moves the cursor to the row with key ``cursor``, if there is one.
    """
    scroll_x = table.scroll_x
    table.clear(columns=True)
    for key, (heading, width) in columns.items():
        table.add_column(Text(heading), width=width, key=key)
    for key, cells in rows.items():
        table.add_row(*cells, key=key)
    if cursor is not None and cursor in rows:
        table.move_cursor(row=list(rows).index(cursor))
    table.scroll_to(x=scroll_x, animate=False)
