"""Validation curves of compared runs, with a legend."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tltui.compare.curves import LOSS, SCORE, chart, legend
from tltui.compare.structs import Comparison
from tltui.compare.text_page import WIDE, charts
from tltui.plotting.text_rows import Row


class ComparedCurves(Widget):
    """Shows score and loss side by side where there is room, else one of them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "compared--run1",
        "compared--run2",
        "compared--run3",
        "compared--run4",
        "compared--run5",
        "compared--run6",
        "compared--chosen",
        "compared--other",
        "compared--band",
        "compared--axis",
        "compared--title",
    }
    DEFAULT_CSS = """
    ComparedCurves {
        height: 1fr;
        & > .compared--run1 { color: $text-primary; text-style: bold; }
        & > .compared--run2 { color: $text-warning; text-style: bold; }
        & > .compared--run3 { color: $text-success; text-style: bold; }
        & > .compared--run4 { color: $text-accent; text-style: bold; }
        & > .compared--run5 { color: $text-error; text-style: bold; }
        & > .compared--run6 { color: $foreground; text-style: bold; }
        & > .compared--chosen { color: $text-accent; text-style: bold; }
        & > .compared--other { color: $text-muted; }
        & > .compared--band { color: $text-muted 45%; }
        &:ansi > .compared--band { color: $text-muted; text-style: dim; }
        & > .compared--axis { color: $text-muted; }
        & > .compared--title { text-style: bold; }
    }
    """

    which = reactive(SCORE)
    """The metric shown where there is room for one."""
    chosen: reactive[int | None] = reactive(None)
    """Number of the run whose curve is always drawn, however good it is."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self._marker = marker
        self._comparison: Comparison | None = None
        self._rows: list[Row] = []

    def show(self, comparison: Comparison) -> None:
        """Show the current state of the runs."""
        self._comparison = comparison
        self._redraw()

    @property
    def both_shown(self) -> bool:
        """Whether there is room for score and loss."""
        return self.size.width >= WIDE

    def other(self) -> None:
        """Show the other metric."""
        self.which = LOSS if self.which == SCORE else SCORE

    def watch_which(self) -> None:
        self._redraw()

    def watch_chosen(self) -> None:
        self._redraw()

    def on_resize(self, _event: events.Resize) -> None:
        self._redraw()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        segments = [Segment(text, self.get_component_rich_style(f"compared--{style}")) for text, style in row]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _redraw(self) -> None:
        rows = self._draw_rows(*self.size)
        if rows != self._rows:
            self._rows = rows
            self.refresh()

    def _draw_rows(self, width: int, height: int) -> list[Row]:
        if self._comparison is None or width < 24 or height < 5:
            return []
        rows = [legend(self._comparison, width, self._marker, self.chosen)]
        if self.both_shown:
            return rows + charts(self._comparison, width, height - 1, self._marker, self.chosen)
        return rows + chart(self._comparison, self.which, width, height - 1, self._marker, self.chosen)
