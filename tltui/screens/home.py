"""Your runs, the newest first; those that live, live."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import InputError
from engine.runs.folder import RunFolder
from tltui.runs.queue import RunQueue
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import RunFollower
from tltui.runs.status import RESUMABLE, is_alive
from tltui.screens.dialogs import Confirm
from tltui.screens.messages import ComparisonWanted, DraftWanted, RunChosen, SweepsWanted, Tables
from tltui.screens.notify_errors import refusals_told
from tltui.settings.demo import demo_config
from tltui.settings.draft import defaults
from tltui.tables.run_columns import RunRow, queued_row, run_row
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.folder_picker import FolderPicker
from tltui.widgets.key_line import KeyLine
from tltui.widgets.runs_table import RunsTable
from tltui.widgets.title_line import TitleLine


class Home(Screen[None]):
    """The table of runs, or two ways to begin where there are none."""

    manual_topic = "quick-start"

    CSS_PATH = "home.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open this run", id="home.open"),
        Binding("n", "new", "new run: choose a folder of images", id="home.new"),
        Binding("m", "new_empty", "new run: all settings by hand", id="home.new_empty"),
        Binding("t", "demo", "try the demo: handwritten digits, no download", id="home.demo"),
        Binding("y", "copy", "a new run with the settings of this one", id="home.copy"),
        Binding("b", "back", "back to the draft", id="home.back"),
        Binding("r", "resume", "go on with this run", id="home.resume"),
        Binding("p", "pause", "pause this run, or resume it", id="home.pause"),
        Binding("s", "stop", "stop this run, with a checkpoint", id="home.stop"),
        Binding("space", "mark", "mark this run to compare it, or take its mark away", id="home.mark"),
        Binding("c", "compare", "compare the marked runs; without marks all with this one's data", id="home.compare"),
        Binding("v", "sweeps", "your sweeps: many settings tried", id="home.sweeps"),
        Binding("escape", "unmark", "take all marks away", id="home.unmark"),
        Binding("x", "delete", "delete this run, or take it out of the queue", id="home.delete"),
    ]

    def __init__(self, runs_dir: Path, queue: RunQueue, glyphs: Glyphs) -> None:
        super().__init__()
        self.left_draft: Tables | None = None
        """The draft that was left without running it."""
        self._runs_dir = runs_dir
        self._queue = queue
        self._glyphs = glyphs
        self._summaries: list[RunSummary] = []
        self._marks: set[str] = set()
        self._title = TitleLine()
        self._table = RunsTable(glyphs)
        self._problem = Static(id="problem", markup=False)
        self._ways = OptionList(
            Option(Content("try the demo: handwritten digits, nothing to download"), id="demo"),
            Option(Content("choose a folder of images: one subfolder a class"), id="new"),
            id="ways",
            compact=True,
        )

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._table
        yield self._problem
        with Vertical(id="nothing-yet"):
            yield Static(_GREETING)
            yield self._ways
        yield KeyLine()

    def show(self, summaries: list[RunSummary]) -> None:
        """Show the runs there are and those that wait."""
        self._summaries = summaries
        rows = [queued_row(place, waiting) for place, waiting in enumerate(self._queue.waiting)]
        self._marks &= {summary.run for summary in summaries}
        rows += [run_row(summary, marked=summary.run in self._marks) for summary in summaries]
        self.set_class(not rows, "-empty")
        self._table.show(rows)
        self._show_problem()
        training = sum(is_alive(summary.status) for summary in summaries)
        runs = f"{len(rows)} run{'' if len(rows) == 1 else 's'}" if rows else "no runs yet"
        counts = [runs, *([f"{training} training"] if training else [])]
        counts += [f"{len(self._marks)} marked"] if self._marks else []
        self._title.show("your runs", Content(", ".join(counts)))
        if self.focused is not (shown := self._table if rows else self._ways):
            shown.focus()
        self.refresh_bindings()

    @property
    def row(self) -> RunRow | None:
        """The run under the cursor."""
        return self._table.row

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done with the run under the cursor."""
        row = self.row
        possible = {
            "pause": row is not None and is_alive(row.status),
            "stop": row is not None and is_alive(row.status),
            "resume": row is not None and row.status in RESUMABLE,
            "open": row is not None,
            "copy": row is not None,
            "delete": row is not None,
            "mark": row is not None and row.place is None,
            "compare": len(self._summaries) > 1,
            "unmark": bool(self._marks),
            "back": self.left_draft is not None,
        }
        return possible.get(action, True)

    def action_open(self) -> None:
        """Open the run under the cursor; one that waits is opened as the draft it still is."""
        if (place := self._place) is not None:
            self.post_message(DraftWanted(self._queue.waiting[place].config.model_dump()))
        elif self.row is not None:
            self.post_message(RunChosen(self._folder))

    @work
    async def action_new(self) -> None:
        """A draft for a folder of images."""
        path = await self.app.push_screen_wait(FolderPicker(Path.cwd(), self._glyphs))
        if path is not None:
            tables = defaults()
            tables["data"]["path"] = str(path)
            self.post_message(DraftWanted(tables))

    def action_new_empty(self) -> None:
        """A draft with nothing chosen."""
        self.post_message(DraftWanted(defaults(), "data.source"))

    def action_demo(self) -> None:
        """The demo as a draft."""
        self.post_message(DraftWanted(demo_config({}).model_dump()))

    def action_copy(self) -> None:
        """A draft with the settings of the run under the cursor."""
        if self._place is not None:
            self.action_open()
        elif following := self._following():
            self.post_message(DraftWanted(following.config_for_new_run.model_dump()))

    def action_back(self) -> None:
        """Back to the draft that was left."""
        self.post_message(DraftWanted(self.left_draft or defaults()))

    def action_resume(self) -> None:
        """Go on with the run under the cursor, and show it; one that could not be started waits for its turn again."""
        if (place := self._place) is not None:
            self._queue.retry(place)
            self.show(self._summaries)
        elif following := self._following():
            with refusals_told(self):
                following.resume()
                self.post_message(RunChosen(self._folder))

    def action_pause(self) -> None:
        """Pause or resume the run under the cursor."""
        if following := self._following():
            with refusals_told(self):
                self.notify(f"{following.pause_or_resume()} takes effect after this step", timeout=2)

    @work
    async def action_stop(self) -> None:
        """Ask, then stop the run under the cursor."""
        if (following := self._following()) and await self._is_sure("Stop training?", "", "Go on training", "Stop"):
            with refusals_told(self):
                following.stop()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away, and go on to the next."""
        if self.row is not None:
            self._marks ^= {self.row.id}
            self.show(self._summaries)
            self._table.action_cursor_down()

    def action_unmark(self) -> None:
        """Take all marks away."""
        self._marks.clear()
        self.show(self._summaries)

    def action_compare(self) -> None:
        """Compare the marked runs; one with the run under the cursor; without marks all that have its data."""
        row = self.row
        chosen = set(self._marks)
        if len(chosen) < 2 and row is not None and row.place is None:
            chosen |= {row.id} if chosen else {run.run for run in self._summaries if run.data == row.data}
        if len(chosen) < 2:
            self.notify("mark two runs or more with space, then c compares them")
            return
        folders = [RunFolder(self._runs_dir / run.run) for run in self._summaries if run.run in chosen]
        self.post_message(ComparisonWanted(folders))

    def action_sweeps(self) -> None:
        """Open one of the sweeps."""
        self.post_message(SweepsWanted())

    @work
    async def action_delete(self) -> None:
        """Ask, then delete the run under the cursor; one that waits has no files and just goes."""
        if (place := self._place) is not None:
            del self._queue.waiting[place]
            self.show(self._summaries)
            return
        folder, row = self._folder, self.row
        if row is not None and is_alive(row.status):
            self.notify("it is still training: stop it first", severity="warning")
        elif await self._is_sure("Delete this run?", "Its checkpoints and figures go too.", "Keep it", "Delete it"):
            shutil.rmtree(folder.path, ignore_errors=True)

    @on(DataTable.RowHighlighted)
    def _show_problem(self) -> None:
        """Say what is wrong with the run under the cursor."""
        problem = self.row.problem if self.row else ""
        self._problem.update(Content(safe(problem, 300)))
        self._problem.display = bool(problem)

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()

    @on(OptionList.OptionSelected)
    def _begun(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == "demo":
            self.action_demo()
        else:
            self.action_new()

    async def _is_sure(self, title: str, text: str, no: str, yes: str) -> bool:
        about = f"{self._folder.id}\n{text}".strip()
        return await self.app.push_screen_wait(Confirm(title, about, {"no": no, "yes": yes})) == "yes"

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self._runs_dir / (self.row.id if self.row else ""))

    @property
    def _place(self) -> int | None:
        """The place in the queue of the row under the cursor."""
        return self.row.place if self.row else None

    def _following(self) -> RunFollower | None:
        try:
            following = RunFollower(self._folder, steps=False)
        except InputError as error:
            self.notify(str(error), severity="error", markup=False)
            return None
        following.poll()
        return following


_GREETING = Content.assemble(
    ("Transfer learning in the terminal", "bold $text-primary"),
    "\n\nTake a network that has learned from a million images, see its layers,\n"
    "choose which of them learn from yours, and watch it happen.\n",
)
