"""Runs side by side: their curves, what differs, and whether it made a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.progress import Throttled
from engine.runs.stopped import Stopped
from tltui.compare.reader import ComparisonReader
from tltui.compare.run_details import run_details
from tltui.compare.structs import Comparison
from tltui.runs.status import is_alive
from tltui.screens.messages import RunChosen
from tltui.text.glyphs import Glyphs
from tltui.widgets.compared_curves import ComparedCurves
from tltui.widgets.compared_table import WIDEST, ComparedTable
from tltui.widgets.key_line import KeyLine
from tltui.widgets.title_line import TitleLine

_DOING = {"runs": "reading run", "compare": "testing run"}
_PAUSE = 1.0  # seconds between looks


class Compare(Screen[None]):
    """Reads in a thread, and again as long as it is looked at, so that runs that train go on here."""

    manual_topic = "experiments"

    CSS_PATH = "compare.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-tall")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open this run", id="compare.open"),
        Binding("l", "other", "show loss, or accuracy", id="compare.other"),
        Binding("escape", "leave", "back to your runs", id="compare.leave"),
    ]

    @dataclass
    class Read(Message):
        """Reading has come so far."""

        what: str

    @dataclass
    class Looked(Message):
        """The runs as they are now."""

        comparison: Comparison

    @dataclass
    class Failed(Message):
        """The runs can't be read."""

        reason: str

    def __init__(self, folders: Sequence[RunFolder], glyphs: Glyphs, marker: str) -> None:
        """Raises InputError where there are fewer than two different runs."""
        super().__init__()
        self._glyphs = glyphs
        self._comparing = ComparisonReader(folders)
        self._comparison: Comparison | None = None
        self._title = TitleLine()
        self._curves = ComparedCurves(marker)
        self._table = ComparedTable(glyphs)
        self._about = Static(id="about")

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._curves
        yield self._table
        yield self._about
        yield KeyLine()

    def on_mount(self) -> None:
        self._title.show("compare", Content(""))
        self._table.focus()
        self._look()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done just now."""
        if action == "other":
            return self._comparison is not None and not self._curves.both_shown
        return action != "open" or self._comparison is not None

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self._comparison is not None and (chosen := self._table.chosen):
            self.post_message(RunChosen(RunFolder(Path(self._comparison.runs[chosen - 1].path))))

    def action_other(self) -> None:
        """Show loss in place of accuracy, and the other way round."""
        self._curves.other()

    def action_leave(self) -> None:
        """Back to the runs."""
        self.dismiss()

    @work(thread=True, group="look", exit_on_error=False)
    def _look(self) -> None:
        worker = get_current_worker()

        def report(activity: str, done: int, total: int, unit: str) -> None:
            if worker.is_cancelled:
                raise Stopped("the screen was left")
            throttled(activity, done, total, unit)

        def tell(activity: str, done: int, total: int, _unit: str) -> None:
            self.post_message(self.Read(f"{_DOING[activity]} {done} of {total}"))

        throttled = Throttled(tell)
        try:
            self.post_message(self.Looked(self._comparing.read(report)))
        except InputError as error:
            self.post_message(self.Failed(str(error)))
        except Stopped:
            return

    def _look_again(self) -> None:
        if self.is_current:
            self._look()
        else:
            self.set_timer(_PAUSE, self._look_again)

    @on(Read)
    def _has_read(self, event: Read) -> None:
        if self._comparison is None:
            self._title.show("compare", Content(event.what))

    @on(Looked)
    def _has_looked(self, event: Looked) -> None:
        self.set_timer(_PAUSE, self._look_again)
        if event.comparison is self._comparison:
            return
        self._comparison = comparison = event.comparison
        training = sum(is_alive(run.status) for run in comparison.runs)
        runs = f"{len(comparison.runs)} runs{f', {training} training' if training else ''}"
        self._title.show("compare", Content(runs))
        self._table.show(comparison)
        self._curves.show(comparison)
        self._tell()
        self.refresh_bindings()

    @on(Failed)
    def _has_failed(self, event: Failed) -> None:
        self.notify(event.reason, title="These runs can't be compared", severity="error", markup=False)
        self.dismiss()

    @on(DataTable.RowHighlighted)
    def _tell(self) -> None:
        """Show what is known of the run under the cursor."""
        chosen = self._table.chosen
        if self._comparison is not None and chosen is not None:
            self._curves.chosen = chosen
            self._about.update(Content("\n".join(run_details(self._comparison, chosen, WIDEST, self._glyphs))))

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()
