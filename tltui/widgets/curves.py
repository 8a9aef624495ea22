"""Live curves of a run: loss, accuracy, learning rate, gradient norm, weight change, forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.runs.state import RunState
from tltui.plotting import plot
from tltui.plotting.panels import ACCURACY, LOSS, PANELS, Panel, View, panel_chart
from tltui.plotting.phase_bands import SHADED
from tltui.plotting.plot import Chart
from tltui.plotting.run_series import RunSeries
from tltui.plotting.summary import summary_parts
from tltui.plotting.text_rows import GAP, Row, beside, changes, fitted, width_of
from tltui.text.glyphs import UNICODE, Glyphs

SMOOTHINGS = (0.02, 0.1, 0.0)
# Visible epochs; 0 is the whole run.
ZOOMS = (0, 10, 3, 1)
MIN_PANEL_WIDTH = 24
MIN_PANEL_HEIGHT = 5
# Width from which two panels are side by side.
WIDE = 130


@dataclass
class _Drawn:
    """A drawn panel, kept to redraw only changes."""

    chart: Chart
    size: tuple[int, int]
    rows: list[Row]


class Curves(Widget, can_focus=True):
    """Draws the curves of one run; ``show`` redraws changed cells only."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "curves--train",
        "curves--val",
        "curves--best",
        "curves--raw",
        "curves--phase",
        "curves--shaded",
        "curves--axis",
        "curves--title",
        "curves--note",
    }
    DEFAULT_CSS = """
    Curves {
        width: 1fr;
        height: 1fr;
        & > .curves--train { color: $text-primary; }
        & > .curves--val { color: $text-warning; text-style: bold; }
        & > .curves--best { color: $text-success; text-style: bold; }
        & > .curves--raw { color: $text-primary 45%; }
        &:ansi > .curves--raw { text-style: dim; }
        & > .curves--phase { color: $text-accent; }
        & > .curves--shaded { background: $foreground 7%; }
        &:ansi > .curves--shaded { background: transparent; }
        & > .curves--axis { color: $text-muted; }
        & > .curves--note { color: $text-muted; }
        & > .curves--title { text-style: bold; }
        &:focus > .curves--title { text-style: bold underline; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "panel(0)", "show / hide loss", id="curves.loss", show=False),
        Binding("2", "panel(1)", "show / hide accuracy or the task's metric", id="curves.accuracy", show=False),
        Binding("3", "panel(2)", "show / hide learning rate", id="curves.rate", show=False),
        Binding("4", "panel(3)", "show / hide gradient norm", id="curves.gradient", show=False),
        Binding("5", "panel(4)", "show / hide weight change", id="curves.change", show=False),
        Binding("6", "panel(5)", "show / hide forgetting", id="curves.forgetting", show=False),
        Binding("m", "smooth", "smoothing: light / strong / off", id="curves.smooth"),
        Binding("l", "log", "log / linear scale", id="curves.log"),
        Binding("z", "zoom", "zoom to the last epochs", id="curves.zoom"),
        Binding("w", "whole", "whole run", id="curves.whole", show=False),
    ]

    def __init__(
        self,
        *,
        glyphs: Glyphs = UNICODE,
        marker: str = "braille",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """``marker``: "braille", "hd", "dot" or "ascii", whichever the terminal's font has."""
        super().__init__(name=name, id=id, classes=classes)
        self.view = View()
        self._panels: list[Panel] = [LOSS, ACCURACY]  # in the order of the user's choices
        self._glyphs, self._marker = glyphs, marker
        self._history: RunSeries | None = None
        self._drawn: dict[str, _Drawn] = {}
        self._rows: list[Row] = []

    def show(self, state: RunState) -> None:
        """Show the current ``state``."""
        if self._history is None or self._history.state is not state:
            self._history = RunSeries(state)
        if self.is_on_screen:
            self._redraw()

    @property
    def summary(self) -> str:
        """The latest values as one line."""
        if self._history is None:
            return ""
        return f" {self._glyphs.separator} ".join(summary_parts(self._history.state))

    def action_panel(self, index: int) -> None:
        """Show or hide a panel; the last one stays. Without room it replaces the panel chosen first."""
        panel, shown = PANELS[index], self._shown(*self._room())
        if panel not in shown:
            self._panels = [*(other for other in self._panels if other is not panel), panel]
        elif len(shown) > 1:
            self._panels = [other for other in shown if other is not panel]
        self._redraw()

    def action_smooth(self) -> None:
        """Switch smoothing: light, strong, off."""
        smoothing = SMOOTHINGS[(SMOOTHINGS.index(self.view.smoothing) + 1) % len(SMOOTHINGS)]
        self.view = View(smoothing, self.view.log, self.view.epochs)
        self._redraw()

    def action_log(self) -> None:
        """Switch between log and linear scale, for panels that have both."""
        self.view = View(self.view.smoothing, not self.view.log, self.view.epochs)
        self._redraw()

    def action_zoom(self) -> None:
        """Show fewer epochs; after the last one, the whole run."""
        epochs = ZOOMS[(ZOOMS.index(self.view.epochs) + 1) % len(ZOOMS)]
        self.view = View(self.view.smoothing, self.view.log, epochs)
        self._redraw()

    def action_whole(self) -> None:
        """Show the whole run."""
        self.view = View(self.view.smoothing, self.view.log)
        self._redraw()

    def on_resize(self, event: events.Resize) -> None:
        self._redraw()

    def on_show(self, event: events.Show) -> None:
        self._redraw()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        segments = [Segment(text, self._style(style)) for text, style in row]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _style(self, name: str) -> Style:
        plain = self.get_component_rich_style(f"curves--{name.removesuffix(SHADED)}")
        if not name.endswith(SHADED):
            return plain
        return plain + Style(bgcolor=self.get_component_rich_style("curves--shaded").bgcolor)

    def _redraw(self) -> None:
        rows = self._all_rows(*self.size)
        changed = [
            Region(start, y, end - start, 1)
            for y, (before, after) in enumerate(zip(self._rows, rows, strict=False))
            for start, end in changes(before, after)
        ]
        if len(rows) != len(self._rows) or any(
            width_of(a) != width_of(b) for a, b in zip(rows, self._rows, strict=True)
        ):
            self._rows = rows
            self.refresh()
        elif changed:
            self._rows = rows
            self.refresh(*changed)

    def _all_rows(self, width: int, height: int) -> list[Row]:
        if width < 1 or height < 1:
            return []
        values = _fitted(summary_parts(self._history.state) if self._history else [], width, self._glyphs)
        body = self._grid(*self._room())
        return [*body, [(set_cell_size(values, width), "note")]]

    def _room(self) -> tuple[int, int]:
        """Columns and rows for panels, without the line of values."""
        return self.size.width, self.size.height - 1

    def _shown(self, width: int, height: int) -> list[Panel]:
        """The chosen panels that fit, latest choices first, in panel order."""
        fitting = max(1, height // MIN_PANEL_HEIGHT) * _across(width, len(self._panels))
        return [panel for panel in PANELS if panel in self._panels[-fitting:]]

    def _grid(self, width: int, height: int) -> list[Row]:
        """Draw the panels that fit, in one column or two."""
        if self._history is None or not self._history.state.steps:
            return _centred("Curves appear with the first training step.", width, height)
        if width < MIN_PANEL_WIDTH or height < MIN_PANEL_HEIGHT:
            return _centred("", width, height)
        shown = self._shown(width, height)
        across = _across(width, len(shown))
        lines = -(-len(shown) // across)
        panel_width = (width - GAP * (across - 1)) // across
        rows: list[Row] = []
        for line in range(lines):
            panel_height = height // lines + (1 if line < height % lines else 0)
            side = shown[line * across : (line + 1) * across]
            last = line == lines - 1
            drawn = [self._panel(panel, panel_width, panel_height, last or panel_height > 8) for panel in side]
            rows += [fitted(row, width) for row in beside(drawn, panel_width)]
        return rows

    def _panel(self, panel: Panel, width: int, height: int, x_labels: bool) -> list[Row]:
        assert self._history is not None
        shown = panel_chart(panel, self._history, self.view, width, height - 1, x_labels=x_labels)
        if shown is None:
            return [self._title(panel, width), *_centred("after the first epoch", width, height - 1)]
        before = self._drawn.get(panel.name)
        if before is None or before.chart != shown or before.size != (width, height):
            rows = plot.draw(shown, width, height - 1, self._marker)
            self._drawn[panel.name] = before = _Drawn(shown, (width, height), rows)
        return [self._title(panel, width), *before.rows]

    def _title(self, panel: Panel, width: int) -> Row:
        state = self._history.state if self._history else RunState()
        row: Row = [(panel.title(state), "title")]
        for look, style, name in panel.legend:
            row += [("  ", "axis"), (plot.samples(look, self._marker), style), (f" {name}", "axis")]
        notes = []
        if panel.is_log(self.view, state):
            notes.append("log")
        if self.view.epochs:
            notes.append("last epoch" if self.view.epochs == 1 else f"last {self.view.epochs} epochs")
        if self.view.smoothing and panel.noisy:
            notes.append(f"smoothed {self.view.smoothing:.0%}")
        note = f" {self._glyphs.separator} ".join(notes)
        room = width - width_of(row)
        if note and room >= len(note) + 2:
            row.append((note.rjust(room), "note"))
        return fitted(row, width)


def _across(width: int, panels: int) -> int:
    """Number of panels side by side."""
    return 2 if width >= WIDE and panels > 1 else 1


def _centred(text: str, width: int, height: int) -> list[Row]:
    blank: Row = [(" " * width, "note")]
    words: Row = [(text[:width].center(width), "note")]
    return [words if at == height // 2 else blank for at in range(height)]


def _fitted(parts: list[str], width: int, glyphs: Glyphs) -> str:
    """Join as many parts as fit."""
    line = ""
    for part in parts:
        longer = f"{line}   {part}" if line else part
        if cell_len(longer) > width:
            break
        line = longer
    return line
