"""Filling a table anew while someone looks at it."""

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
    """Put other columns (heading and width) and rows in ``table``; it stays scrolled across, and the cursor on its row.

    ``columns`` and ``rows`` by their keys; ``cursor``: the key of the row that is under it, if that is still there.
    """
    across = table.scroll_x
    table.clear(columns=True)
    for key, (heading, width) in columns.items():
        table.add_column(Text(heading), width=width, key=key)
    for key, cells in rows.items():
        table.add_row(*cells, key=key)
    if cursor is not None and cursor in rows:
        table.move_cursor(row=list(rows).index(cursor))
    table.scroll_to(x=across, animate=False)
