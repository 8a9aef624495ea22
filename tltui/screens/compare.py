"""The comparison of runs: curves, differing settings, metrics, paired tests."""

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
from tltui.screens.messages import OpenRun
from tltui.text.glyphs import Glyphs
from tltui.widgets.compared_curves import ComparedCurves
from tltui.widgets.compared_table import WIDEST, ComparedTable
from tltui.widgets.key_line import KeyLine
from tltui.widgets.title_line import TitleLine

_DOING = {"runs": "reading run", "compare": "testing run"}
_PAUSE = 1.0  # seconds between two reads


class Compare(Screen[None]):
    """Reads the runs in a thread, and again while shown, so that training runs are live."""

    manual_topic = "experiments"

    CSS_PATH = "compare.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open this run", id="compare.open"),
        Binding("l", "other", "score / loss", id="compare.other"),
        Binding("escape", "leave", "back to runs", id="compare.leave"),
    ]

    @dataclass
    class Progress(Message):
        """Progress of reading."""

        progress: str

    @dataclass
    class Loaded(Message):
        """The runs are read."""

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
        self._read()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is possible now."""
        if action == "other":
            return self._comparison is not None and not self._curves.both_shown
        return action != "open" or self._comparison is not None

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self._comparison is not None and (chosen := self._table.chosen):
            self.post_message(OpenRun(RunFolder(Path(self._comparison.runs[chosen - 1].path))))

    def action_other(self) -> None:
        """Show loss in place of the score, or the score in place of loss."""
        self._curves.other()

    def action_leave(self) -> None:
        """Back to the runs."""
        self.dismiss()

    @work(thread=True, group="read", exit_on_error=False)
    def _read(self) -> None:
        worker = get_current_worker()

        def report(activity: str, done: int, total: int, unit: str) -> None:
            if worker.is_cancelled:
                raise Stopped("the screen was left")
            throttled(activity, done, total, unit)

        def post(activity: str, done: int, total: int, _unit: str) -> None:
            self.post_message(self.Progress(f"{_DOING[activity]} {done} of {total}"))

        throttled = Throttled(post)
        try:
            self.post_message(self.Loaded(self._comparing.read(report)))
        except InputError as error:
            self.post_message(self.Failed(str(error)))
        except Stopped:
            return

    def _read_again(self) -> None:
        if self.is_current:
            self._read()
        else:
            self.set_timer(_PAUSE, self._read_again)

    @on(Progress)
    def _show_progress(self, event: Progress) -> None:
        if self._comparison is None:
            self._title.show("compare", Content(event.progress))

    @on(Loaded)
    def _show(self, event: Loaded) -> None:
        self.set_timer(_PAUSE, self._read_again)
        if event.comparison is self._comparison:
            return
        self._comparison = comparison = event.comparison
        training = sum(run.status.is_alive for run in comparison.runs)
        runs = f"{len(comparison.runs)} runs{f', {training} training' if training else ''}"
        self._title.show("compare", Content(runs))
        self._table.show(comparison)
        self._curves.show(comparison)
        self._describe()
        self.refresh_bindings()

    @on(Failed)
    def _show_error(self, event: Failed) -> None:
        self.notify(event.reason, title="Runs can't be compared", severity="error", markup=False)
        self.dismiss()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        """Describe the run under the cursor."""
        chosen = self._table.chosen
        if self._comparison is not None and chosen is not None:
            self._curves.chosen = chosen
            self._about.update(Content("\n".join(run_details(self._comparison, chosen, WIDEST, self._glyphs))))

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()
