"""The table of runs on the home screen."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable

from tltui.tables.run_columns import COLUMNS, RunRow, widths
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.table_refill import refill

_LAST_COLUMN = list(COLUMNS)[-1]


class RunsTable(DataTable[Content], inherit_bindings=False):
    """Redraws changed cells only; the cursor stays on its run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "previous run", id="home.previous", show=False),
        Binding("down", "cursor_down", "next run", id="home.next", show=False),
        Binding("pageup", "page_up", "page up", id="home.page_up", show=False),
        Binding("pagedown", "page_down", "page down", id="home.page_down", show=False),
        Binding("home", "scroll_top", "newest run", id="home.newest", show=False),
        Binding("end", "scroll_bottom", "oldest run", id="home.oldest", show=False),
    ]

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(cursor_type="row", cell_padding=0, id="runs")
        self._glyphs = glyphs
        self._shown: dict[str, RunRow] = {}

    def show(self, rows: list[RunRow]) -> None:
        """Show the current state of the runs."""
        is_new_order = [row.id for row in rows] != list(self._shown)
        under_cursor = self.row
        self._shown = {row.id: row for row in rows}
        if is_new_order:
            self._fill(under_cursor)
        else:
            self._update()

    @property
    def row(self) -> RunRow | None:
        """The row under the cursor."""
        rows = list(self._shown.values())
        return rows[self.cursor_row] if self.cursor_row < len(rows) else None

    @on(events.Resize)
    def _resized(self) -> None:
        self._fill(self.row)

    def _fill(self, under_cursor: RunRow | None) -> None:
        now = time.time()
        sizes = widths(self.size.width, list(self._shown.values()))
        columns = {name: (name, width) for name, width in sizes.items()}
        rows = {}
        for id, row in self._shown.items():
            cells = row.cells(now, self._glyphs)
            rows[id] = [self._fitted(name, cells[name], width) for name, width in sizes.items()]
        refill(self, columns, rows, under_cursor.id if under_cursor else None)

    def _update(self) -> None:
        now = time.time()
        for id, row in self._shown.items():
            cells = row.cells(now, self._glyphs)
            for column in self.ordered_columns:
                name = str(column.key.value)
                cell = self._fitted(name, cells[name], column.width)
                if self.get_cell(id, name) != cell:
                    self.update_cell(id, name, cell)

    def _fitted(self, column: str, cell: Content, width: int) -> Content:
        """The cell, cut so that a blank is left before the next column."""
        room = width if column == _LAST_COLUMN else width - 1
        return cell.truncate(room, ellipsis=self._glyphs is not ASCII)
