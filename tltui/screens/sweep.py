"""The screen of a sweep: best settings, effect of each setting, table of trials."""

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
from tltui.engine_client.background import BackgroundCommand
from tltui.engine_client.sweep import start_worker, stop, watch
from tltui.plotting.eta import ActivityClock
from tltui.screens.dialogs import Confirm
from tltui.screens.messages import OpenDraft, OpenRun
from tltui.screens.notify_errors import notify_errors
from tltui.tables.sweep import result_rows, trial_counts
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import duration
from tltui.widgets.key_line import KeyLine
from tltui.widgets.styled_rows import styled_rows
from tltui.widgets.title_line import TitleLine
from tltui.widgets.trials_table import TrialsTable

_POLL = 0.5  # seconds between polls of a worker that has not started


class SweepScreen(Screen[None]):
    """Follows a sweep, whichever processes run it. Leaving the screen does not stop the sweep."""

    manual_topic = "experiments"

    DEFAULT_CSS = """
    SweepScreen TrialsTable { height: 1fr; margin: 0 1; background: transparent; scrollbar-size-vertical: 1; }
    SweepScreen #found { height: auto; max-height: 55%; margin: 1 1; scrollbar-size-vertical: 1; }
    TrialsTable > .datatable--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open the run of this trial", id="sweep.open"),
        Binding("y", "take", "new run from the best settings", id="sweep.take"),
        Binding("s", "stop", "stop the sweep gracefully", id="sweep.stop"),
        Binding("r", "go_on", "resume the sweep", id="sweep.go_on"),
        Binding("escape", "leave", "back; the sweep continues", id="sweep.leave"),
    ]

    def __init__(self, runs_dir: Path, name: str, worker: BackgroundCommand | None, glyphs: Glyphs) -> None:
        """``worker``: the worker of a sweep that this app has just started."""
        super().__init__()
        self._runs_dir = runs_dir
        self._sweep = name
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
    def _is_running(self) -> bool:
        has_worker = self._worker is not None and self._worker.is_running
        if self._results is None:
            return has_worker
        return not self._results.over and (has_worker or self._results.running > 0)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is possible now."""
        possible = {
            "open": self._table.trial is not None and bool(self._table.trial.run),
            "take": self._results is not None and self._results.best is not None,
            "stop": self._is_running and self._results is not None,
            "go_on": self._results is not None and not self._is_running and not self._results.over,
        }
        return possible.get(action, True)

    def action_open(self) -> None:
        """Open the run of the trial under the cursor."""
        if (trial := self._table.trial) is not None and trial.run:
            self.post_message(OpenRun(RunFolder(Path(trial.run))))

    def action_take(self) -> None:
        """Open a draft with the settings of the best trial."""
        if self._results is None or self._results.best is None:
            return
        with notify_errors(self, "Settings of the best trial can't be read"):
            config = RunFolder(Path(self._results.best.run)).load_config()
            self.post_message(OpenDraft(config.model_dump()))

    @work
    async def action_stop(self) -> None:
        """Ask, then stop all workers."""
        question = Confirm(
            "Stop the sweep?",
            "Running trials stop with a checkpoint. r: resume them",
            {"no": "Keep running", "yes": "Stop"},
        )
        if await self.app.push_screen_wait(question) != "yes":
            return
        with notify_errors(self, "Sweep not stopped"):
            await stop(self._runs_dir, self._sweep)
            self.notify("Sweep stops after the current steps", timeout=3)

    def action_go_on(self) -> None:
        """Start a worker that resumes the sweep."""
        with notify_errors(self):
            self._worker = start_worker(self._runs_dir, self._sweep)
            self.notify("Sweep resumes", timeout=3)
            self._watch()

    def action_leave(self) -> None:
        """Leave; the sweep continues."""
        self.dismiss()

    @work(exclusive=True, group="watch", exit_on_error=False)
    async def _watch(self) -> None:
        """Show new results until the sweep has finished; wait for its worker to start."""
        while True:
            is_starting = self._results is None and self._worker is not None and self._worker.is_running
            try:
                async with aclosing(watch(self._runs_dir, self._sweep)) as updates:
                    async for results in updates:
                        self._update(results)
                return
            except InputError as error:
                if not is_starting:
                    refusal = self._worker.error if self._worker is not None else ""
                    self._found.update(Content.styled(safe(refusal or str(error), 1000), "$text-error"))
                    self._show_title("no trials")
                    return
            await asyncio.sleep(_POLL)

    def _update(self, results: SweepResults) -> None:
        if self._worker is not None and (refusal := self._worker.error):
            self._worker = None
            self.notify(safe(refusal, 1000), title="Sweep worker failed", severity="error", markup=False)
        self._results = results
        self._show()
        self.refresh_bindings()

    def _show(self) -> None:
        results = self._results
        if results is None:
            return
        left = None
        if self._is_running and results.wanted:
            left = self._clock.seconds_left("trials", results.ended, results.wanted)
        self._show_title(trial_counts(results) + (f"  {duration(left)} left" if left is not None else ""))
        self._found.update(styled_rows(result_rows(results, self._found.size.width, self._glyphs)))
        self._table.show(results)

    def _show_title(self, state: str) -> None:
        self._title.show(f"sweep {safe(self._sweep, 60)}", Content(state))

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()
