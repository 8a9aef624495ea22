"""A sweep: its trials as they go on, the best settings, and what each setting does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, Static

from engine.errors import InputError
from engine.experiments.sweep.events import SweepResults
from engine.runs.folder import RunFolder
from tltui.engine_client.sweep import SweepWorker, stop, watch
from tltui.plotting.eta import ActivityClock
from tltui.screens.dialogs import Confirm
from tltui.screens.messages import DraftWanted, RunChosen
from tltui.screens.notify_errors import refusals_told
from tltui.tables.sweep import result_rows, trial_counts
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import duration
from tltui.widgets.key_line import KeyLine
from tltui.widgets.styled_rows import styled_rows
from tltui.widgets.title_line import TitleLine
from tltui.widgets.trials_table import TrialsTable

_LOOK = 0.5  # seconds between looks at a worker that has not begun yet


class SweepScreen(Screen[None]):
    """Watches a sweep, whoever works on it. Leaving the screen ends the watching, not the sweep."""

    manual_topic = "experiments"

    DEFAULT_CSS = """
    SweepScreen TrialsTable { height: 1fr; margin: 0 1; background: transparent; scrollbar-size-vertical: 1; }
    SweepScreen #found { height: auto; max-height: 55%; margin: 1 1; scrollbar-size-vertical: 1; }
    TrialsTable > .datatable--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open the run of this trial", id="sweep.open"),
        Binding("y", "take", "a new run with the settings of the best trial", id="sweep.take"),
        Binding("s", "stop", "stop the sweep, in order", id="sweep.stop"),
        Binding("r", "go_on", "go on with the sweep", id="sweep.go_on"),
        Binding("escape", "leave", "back; the sweep goes on", id="sweep.leave"),
    ]

    def __init__(self, runs_dir: Path, name: str, worker: SweepWorker | None, glyphs: Glyphs) -> None:
        """``worker``: that of a sweep which this app has begun just now."""
        super().__init__()
        self._runs_dir = runs_dir
        self._name = name
        self._worker = worker
        self._glyphs = glyphs
        self._results: SweepResults | None = None
        self._clock = ActivityClock()
        self._title = TitleLine()
        self._found = Static()
        self._table = TrialsTable()

    def compose(self) -> ComposeResult:
        yield self._title
        with VerticalScroll(id="found"):
            yield self._found
        yield self._table
        yield KeyLine()

    def on_mount(self) -> None:
        self._show_title("starting" if self._worker else "reading")
        self._table.focus()
        self._watch()

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show)

    @property
    def _at_work(self) -> bool:
        works = self._worker is not None and self._worker.is_running
        if self._results is None:
            return works
        return not self._results.over and (works or self._results.running > 0)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done just now."""
        possible = {
            "open": self._table.trial is not None and bool(self._table.trial.run),
            "take": self._results is not None and self._results.best is not None,
            "stop": self._at_work and self._results is not None,
            "go_on": self._results is not None and not self._at_work and not self._results.over,
        }
        return possible.get(action, True)

    def action_open(self) -> None:
        """Open the run of the trial under the cursor."""
        if (trial := self._table.trial) is not None and trial.run:
            self.post_message(RunChosen(RunFolder(Path(trial.run))))

    def action_take(self) -> None:
        """A draft with the settings of the best trial."""
        if self._results is None or self._results.best is None:
            return
        with refusals_told(self, "Its settings can't be read"):
            config = RunFolder(Path(self._results.best.run)).load_config()
            self.post_message(DraftWanted(config.model_dump()))

    @work
    async def action_stop(self) -> None:
        """Ask, then have all workers stop."""
        question = Confirm(
            "Stop the sweep?",
            "The trials under way stop with a checkpoint; r goes on with them.",
            {"no": "Go on", "yes": "Stop"},
        )
        if await self.app.push_screen_wait(question) != "yes":
            return
        with refusals_told(self, "Not stopped"):
            await stop(self._runs_dir, self._name)
            self.notify("the sweep stops after the steps under way", timeout=3)

    def action_go_on(self) -> None:
        """Start a worker that goes on with the sweep."""
        with refusals_told(self):
            self._worker = SweepWorker(self._runs_dir, self._name)
            self.notify("a worker goes on with it", timeout=3)
            self._watch()

    def action_leave(self) -> None:
        """Back; the sweep goes on."""
        self.dismiss()

    @work(exclusive=True, group="watch", exit_on_error=False)
    async def _watch(self) -> None:
        """Take in what is new until the sweep is over; before its worker has begun there is nothing to see."""
        while True:
            begins = self._results is None and self._worker is not None and self._worker.is_running
            try:
                async with aclosing(watch(self._runs_dir, self._name)) as looks:
                    async for results in looks:
                        self._take_in(results)
                return
            except InputError as error:
                if not begins:
                    refusal = self._worker.error if self._worker is not None else ""
                    self._found.update(Content.styled(safe(refusal or str(error), 1000), "$text-error"))
                    self._show_title("nothing was tried")
                    return
            await asyncio.sleep(_LOOK)

    def _take_in(self, results: SweepResults) -> None:
        if self._worker is not None and (refusal := self._worker.error):
            self._worker = None
            self.notify(safe(refusal, 1000), title="The sweep's worker has ended", severity="error", markup=False)
        self._results = results
        self._show()
        self.refresh_bindings()

    def _show(self) -> None:
        results = self._results
        if results is None:
            return
        left = None
        if self._at_work and results.wanted:
            left = self._clock.seconds_left("trials", results.ended, results.wanted)
        self._show_title(trial_counts(results) + (f"  {duration(left)} left" if left is not None else ""))
        self._found.update(styled_rows(result_rows(results, self._found.size.width, self._glyphs)))
        self._table.show(results)

    def _show_title(self, state: str) -> None:
        self._title.show(f"sweep {safe(self._name, 60)}", Content(state))

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()
