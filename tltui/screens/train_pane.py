"""How the run goes: its curves and what it warned of."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engine.runs.state import RunState
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.curves import Curves


class TrainPane(Vertical):
    """Curves, and below them the last warning."""

    manual_topic = "training"

    DEFAULT_CSS = """
    TrainPane > Curves { height: 1fr; }
    TrainPane > #warning { height: auto; max-height: 2; color: $text-warning; }
    TrainPane > #nothing-yet { padding: 1 2; color: $text-muted; }
    TrainPane > Curves { display: none; }
    TrainPane.-begun > Curves { display: block; }
    TrainPane.-begun > #nothing-yet { display: none; }
    """

    def __init__(self, glyphs: Glyphs, marker: str) -> None:
        super().__init__(id="train")
        self._glyphs = glyphs
        self._curves = Curves(glyphs=glyphs, marker=marker)
        self._warning = Static(id="warning")
        self._last = ""
        self._drawn_at: tuple[int, int, bool] | None = None

    def compose(self) -> ComposeResult:
        yield Static("Curves appear here once the run takes its first steps.", id="nothing-yet")
        yield self._curves
        yield self._warning

    def show(self, state: RunState) -> None:
        """Show a run; does nothing while out of sight or where nothing is new."""
        drawn_at = (id(state), state.seq, self.is_on_screen)
        if drawn_at == self._drawn_at:
            return
        self._drawn_at = drawn_at
        self.set_class(bool(state.steps), "-begun")
        if state.steps:
            self._curves.show(state)
        last = f"{self._glyphs.separator} {safe(state.warnings[-1].message)}" if state.warnings else ""
        if last != self._last:  # an update would have it sent anew, with all around it
            self._last = last
            self._warning.update(Content(last))
        self._warning.display = bool(last)  # an empty line is worth a row of curves

    def focus_curves(self) -> None:
        """Put the focus on the curves, if there are any."""
        if self.has_class("-begun"):
            self._curves.focus()
