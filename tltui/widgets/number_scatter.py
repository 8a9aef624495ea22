"""A scatter plot of true against predicted numbers."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from engine.runs.events import NumberMetrics
from tltui.plotting.scatter import scatter
from tltui.plotting.text_rows import Row


class NumberScatter(Widget):
    """Draws one number at a time."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "scatter--title", "scatter--axis", "scatter--phase", "scatter--point", "scatter--exact",
    }  # fmt: skip
    DEFAULT_CSS = """
    NumberScatter {
        & > .scatter--title { text-style: bold; }
        & > .scatter--axis { color: $text-muted; }
        & > .scatter--phase { color: $text-muted; }
        & > .scatter--point { color: $text-primary; }
        & > .scatter--exact { color: $text-success; }
    }
    """

    def __init__(self, marker: str) -> None:
        """``marker``: as in ``Curves``."""
        super().__init__(id="scatter")
        self._marker = marker
        self._of: NumberMetrics | None = None
        self._rows: list[Row] = []

    def show(self, of: NumberMetrics) -> None:
        """Draw a number."""
        self._of = of
        self._redraw()

    def on_resize(self, _event: events.Resize) -> None:
        self._redraw()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        segments = [Segment(text, self.get_component_rich_style(f"scatter--{style}")) for text, style in row]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _redraw(self) -> None:
        width, height = self.size
        if self._of is not None and width >= 24 and height >= 6:
            self._rows = scatter(self._of, width, height, self._marker)
            self.refresh()
