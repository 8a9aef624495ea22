"""The curves tab of a workbench: curves of the run and its last warning."""

from __future__ import annotations

from typing import Self

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engine.runs.state import RunState
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.curves import Curves


class TrainPane(Vertical):
    """Shows the curves, and the last warning below."""

    manual_topic = "training"

    DEFAULT_CSS = """
    TrainPane > Curves { height: 1fr; }
    TrainPane > #warning { height: auto; max-height: 2; color: $text-warning; }
    TrainPane > #empty { padding: 1 2; color: $text-muted; }
    TrainPane > Curves { display: none; }
    TrainPane.-begun > Curves { display: block; }
    TrainPane.-begun > #empty { display: none; }
    """

    def __init__(self, glyphs: Glyphs, marker: str) -> None:
        super().__init__(id="train")
        self._glyphs = glyphs
        self._curves = Curves(glyphs=glyphs, marker=marker)
        self._warning = Static(id="warning")
        self._last = ""
        self._drawn_as: tuple[int, int, bool] | None = None

    def compose(self) -> ComposeResult:
        yield Static("Curves appear with the first training step.", id="empty")
        yield self._curves
        yield self._warning

    def show(self, state: RunState) -> None:
        """Show a run; does nothing while hidden or without new events."""
        drawn_as = (id(state), state.seq, self.is_on_screen)
        if drawn_as == self._drawn_as:
            return
        self._drawn_as = drawn_as
        self.set_class(bool(state.steps), "-begun")
        if state.steps:
            self._curves.show(state)
        last = f"{self._glyphs.separator} {safe(state.warnings[-1].message)}" if state.warnings else ""
        if last != self._last:  # an update redraws the widgets around it
            self._last = last
            self._warning.update(Content(last))
        self._warning.display = bool(last)  # leaves its row to the curves

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the curves, if there are any."""
        if self.has_class("-begun"):
            self._curves.focus(scroll_visible)
        return self
