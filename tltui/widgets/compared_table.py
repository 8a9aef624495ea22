"""The table of compared runs, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable

from tltui.compare.columns import Column, further_columns, metric_columns, setting_columns
from tltui.compare.structs import Comparison
from tltui.text.glyphs import UNICODE, Glyphs, safe
from tltui.widgets.table_refill import refill

WIDEST = 28
"""Maximum width of a column in cells; longer texts lose their middle."""
_STEP = 10  # cells per key press


@dataclass(frozen=True)
class _Shown:
    order: tuple[int, ...]
    headings: tuple[str, ...]
    widths: tuple[int, ...]
    cells: dict[tuple[int, int], Content]
    """By run number and column."""

    @property
    def outline(self) -> object:
        """Everything but the cells."""
        return self.order, self.headings, self.widths


class ComparedTable(DataTable[Content], inherit_bindings=False):
    """Scrolls the columns beside number and name. Redraws changed cells only."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "previous run", id="compare.previous", show=False),
        Binding("down", "cursor_down", "next run", id="compare.next", show=False),
        Binding("pageup", "page_up", "page up", id="compare.page_up", show=False),
        Binding("pagedown", "page_down", "page down", id="compare.page_down", show=False),
        Binding("home", "scroll_top", "best run", id="compare.best", show=False),
        Binding("end", "scroll_bottom", "last run", id="compare.last", show=False),
        Binding("left", "move_columns(-1)", "scroll columns left", id="compare.left", show=False),
        Binding("right", "move_columns(1)", "scroll columns right", id="compare.right", show=False),
    ]

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(cursor_type="row", cell_padding=1, fixed_columns=2)
        self._glyphs = glyphs
        self._shown: _Shown | None = None

    def show(self, comparison: Comparison) -> None:
        """Show the current state of the runs; the cursor stays on its run."""
        columns = [
            Column("", tuple(str(run.number) for run in comparison.runs)),
            *metric_columns(comparison),
            *setting_columns(comparison, self._glyphs),
            *further_columns(comparison),
        ]
        before, shown = self._shown, self._laid_out(comparison, columns)
        chosen, self._shown = self.chosen, shown
        if before is None or before.outline != shown.outline:
            self._fill(shown, chosen)
            return
        for (number, at), cell in shown.cells.items():
            if before.cells[number, at] != cell:
                self.update_cell(str(number), str(at), cell)

    @property
    def chosen(self) -> int | None:
        """The number of the run under the cursor."""
        if self._shown is None or self.cursor_row >= len(self._shown.order):
            return None
        return self._shown.order[self.cursor_row]

    def action_move_columns(self, steps: int) -> None:
        """Scroll the columns left or right."""
        self.scroll_relative(x=steps * _STEP, animate=False)

    def _laid_out(self, comparison: Comparison, columns: Sequence[Column]) -> _Shown:
        widths = tuple(min(max(map(cell_len, (of.heading, *of.texts))), WIDEST) for of in columns)

        def style(number: int) -> str:
            return "bold" if number == comparison.best else ""

        cells = {
            (number, at): Content.styled(self._fitted(column, column.texts[number - 1], width), style(number))
            for at, (column, width) in enumerate(zip(columns, widths, strict=True))
            for number in comparison.order
        }
        headings = tuple(self._fitted(of, of.heading, width) for of, width in zip(columns, widths, strict=True))
        return _Shown(tuple(comparison.order), headings, widths, cells)

    def _fitted(self, column: Column, text: str, width: int) -> str:
        fitted = safe(text, width, self._glyphs.ellipsis)
        return fitted if column.left else " " * (width - cell_len(fitted)) + fitted

    def _fill(self, shown: _Shown, chosen: int | None) -> None:
        places = range(len(shown.headings))
        columns = {str(at): (shown.headings[at], shown.widths[at]) for at in places}
        rows = {str(number): [shown.cells[number, at] for at in places] for number in shown.order}
        refill(self, columns, rows, str(chosen))
