"""The table of trials of a sweep."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable

from engine.experiments.sweep.events import Status, SweepResults, TrialResult
from tltui.tables.trial_columns import Column, columns, ranked
from tltui.widgets.table_refill import refill

_STATES: dict[Status, str] = {
    "running": "$text-primary",
    "completed": "$text-success",
    "pruned": "$text-muted",
    "failed": "$text-error",
    "stopped": "$text-warning",
}


class TrialsTable(DataTable[Content], inherit_bindings=False):
    """Running trials first, then the best. Redraws changed cells only; the cursor stays on its trial."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "previous trial", id="sweep.previous", show=False),
        Binding("down", "cursor_down", "next trial", id="sweep.next", show=False),
        Binding("pageup", "page_up", "page up", id="sweep.page_up", show=False),
        Binding("pagedown", "page_down", "page down", id="sweep.page_down", show=False),
        Binding("home", "scroll_top", "first trial", id="sweep.first", show=False),
        Binding("end", "scroll_bottom", "last trial", id="sweep.last", show=False),
        Binding("left", "scroll_left", "scroll columns left", id="sweep.left", show=False),
        Binding("right", "scroll_right", "scroll columns right", id="sweep.right", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=1)
        self._results: SweepResults | None = None
        self._trials: list[TrialResult] = []
        self._widths: dict[str, int] = {}

    def show(self, results: SweepResults) -> None:
        """Show the current state of the trials."""
        under_cursor, before = self.trial, [one.trial for one in self._trials]
        self._results, self._trials = results, ranked(results.trials)
        shown = self._columns()
        widths = {key: self._width(column) for key, column in shown.items()}
        if before != [one.trial for one in self._trials] or widths != self._widths:
            self._widths = widths
            self._fill(shown, under_cursor)
            return
        for one in self._trials:
            for key, column in shown.items():
                if self.get_cell(str(one.trial), key) != (cell := self._cell(one, key, column)):
                    self.update_cell(str(one.trial), key, cell)

    @property
    def trial(self) -> TrialResult | None:
        """The trial under the cursor."""
        return self._trials[self.cursor_row] if self.cursor_row < len(self._trials) else None

    @on(events.Resize)
    def _resized(self) -> None:
        if self._results is not None:
            self.show(self._results)

    def _columns(self) -> dict[str, Column]:
        names = [margin.setting for margin in self._results.margins] if self._results else []
        return columns(names, self.size.width)

    def _width(self, column: Column) -> int:
        texts = [column.heading, *map(column.cell, self._trials)]
        return max(column.narrowest, *map(cell_len, texts))

    def _fill(self, shown: dict[str, Column], under_cursor: TrialResult | None) -> None:
        columns = {
            key: (column.heading.rjust(width) if column.right else column.heading, width)
            for (key, column), width in zip(shown.items(), self._widths.values(), strict=True)
        }
        rows = {str(one.trial): [self._cell(one, key, column) for key, column in shown.items()] for one in self._trials}
        refill(self, columns, rows, str(under_cursor.trial) if under_cursor else None)

    def _cell(self, one: TrialResult, key: str, column: Column) -> Content:
        text = column.cell(one)
        if column.right:
            text = " " * (self._widths[key] - cell_len(text)) + text
        return Content.styled(text, _STATES[one.status]) if key == "state" else Content(text)
