"""The list of runs and the queue, updated live."""

from __future__ import annotations

import shutil
from asyncio import to_thread
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

from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Stop
from engine.runs.folder import RunFolder
from tltui.engine_client.queries import EngineQueries
from tltui.runs import launch
from tltui.runs.queue import RunQueue
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import RunFollower
from tltui.screens.dialogs import Confirm
from tltui.screens.messages import ChooseSweep, CompareRuns, OpenDraft, OpenFolds, OpenRun, Tables
from tltui.screens.notify_errors import notify_errors
from tltui.settings.demo import demo_config
from tltui.settings.draft import defaults
from tltui.tables.run_columns import RunRow, queued_row, run_rows
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.folder_picker import FolderPicker
from tltui.widgets.key_line import KeyLine
from tltui.widgets.runs_table import RunsTable
from tltui.widgets.title_line import TitleLine


class Home(Screen[None]):
    """The table of runs, or two ways to start where there are none."""

    manual_topic = "quick-start"

    CSS_PATH = "home.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open this run", id="home.open"),
        Binding("n", "new", "new run from a folder of images", id="home.new"),
        Binding("m", "new_empty", "new run from the settings form", id="home.new_empty"),
        Binding("t", "demo", "demo: handwritten digits, no download", id="home.demo"),
        Binding("y", "copy", "new run from these settings", id="home.copy"),
        Binding("b", "back", "back to the draft", id="home.back"),
        Binding("r", "resume", "resume this run", id="home.resume"),
        Binding("p", "pause", "pause / resume this run", id="home.pause"),
        Binding("s", "stop", "stop this run with a checkpoint", id="home.stop"),
        Binding("space", "mark", "mark / unmark this run for comparison", id="home.mark"),
        Binding("c", "compare", "compare marked runs, or all with this dataset", id="home.compare"),
        Binding("f", "folds", "all folds of this cross-validation", id="home.folds"),
        Binding("e", "expand", "show / hide the folds below", id="home.expand"),
        Binding("v", "sweeps", "hyperparameter sweeps", id="home.sweeps"),
        Binding("escape", "unmark", "unmark all", id="home.unmark"),
        Binding("x", "delete", "delete this run / remove it from the queue", id="home.delete"),
    ]

    def __init__(self, runs_dir: Path, queue: RunQueue, queries: EngineQueries, glyphs: Glyphs) -> None:
        super().__init__()
        self.left_draft: Tables | None = None
        """The settings of the last draft that was left without running it."""
        self._runs_dir = runs_dir
        self._queue = queue
        self._queries = queries
        self._glyphs = glyphs
        self._summaries: list[RunSummary] = []
        self._marks: set[str] = set()
        self._expanded: set[str] = set()
        """The cross-validations whose folds are shown."""
        self._title = TitleLine()
        self._table = RunsTable(glyphs)
        self._problem = Static(id="problem", markup=False)
        self._ways = OptionList(
            Option(Content("demo: handwritten digits, no download"), id="demo"),
            Option(Content("folder of images: one subfolder per class"), id="new"),
            id="ways",
            compact=True,
        )

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._table
        yield self._problem
        with Vertical(id="empty"):
            yield Static(_WELCOME)
            yield self._ways
        yield KeyLine()

    def show(self, summaries: list[RunSummary]) -> None:
        """Show the queue and the runs."""
        self._summaries = summaries
        rows = [queued_row(place, waiting) for place, waiting in enumerate(self._queue.waiting)]
        self._marks &= {summary.run for summary in summaries}
        rows += run_rows(summaries, self._marks, self._expanded)
        self.set_class(not rows, "-empty")
        self._table.show(rows)
        self._show_problem()
        training = sum(summary.status.is_alive for summary in summaries)
        count = len(self._queue.waiting) + len(summaries)
        runs = f"{count} run{'' if count == 1 else 's'}" if count else "no runs yet"
        counts = [runs, *([f"{training} training"] if training else [])]
        counts += [f"{len(self._marks)} marked"] if self._marks else []
        self._title.show("runs", Content(", ".join(counts)))
        if self.focused is not (shown := self._table if rows else self._ways):
            shown.focus()
        self.refresh_bindings()

    @property
    def row(self) -> RunRow | None:
        """The run under the cursor."""
        return self._table.row

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the run under the cursor allows an action."""
        row = self.row
        possible = {
            "pause": row is not None and row.status.is_alive,
            "stop": row is not None and row.status.is_alive,
            "resume": row is not None and row.status.is_resumable and row.is_expanded is None,
            "open": row is not None,
            "copy": row is not None,
            "delete": row is not None,
            "mark": row is not None and row.place is None,
            "compare": len(self._summaries) > 1,
            "folds": row is not None and bool(row.cross_validation),
            "expand": row is not None and row.is_expanded is not None,
            "unmark": bool(self._marks),
            "back": self.left_draft is not None,
        }
        return possible.get(action, True)

    def action_open(self) -> None:
        """Open the run under the cursor; a queued one opens as a draft, a cross-validation with its folds."""
        if self.row is not None and self.row.is_expanded is not None:
            self.action_folds()
        elif (place := self._place) is not None:
            self.post_message(OpenDraft(self._queue.waiting[place].config.model_dump()))
        elif self.row is not None:
            self.post_message(OpenRun(self._folder))

    @work
    async def action_new(self) -> None:
        """Open a draft for a folder of images."""
        path = await self.app.push_screen_wait(FolderPicker(Path.cwd(), self._glyphs, self._queries.scan))
        if path is not None:
            tables = defaults()
            tables["data"]["path"] = str(path)
            self.post_message(OpenDraft(tables))

    def action_new_empty(self) -> None:
        """Open a draft with default settings."""
        self.post_message(OpenDraft(defaults(), "data.source"))

    def action_demo(self) -> None:
        """Open the demo as a draft."""
        self.post_message(OpenDraft(demo_config({}).model_dump()))

    @work(exclusive=True, group="act")
    async def action_copy(self) -> None:
        """Open a draft with the settings of the run under the cursor."""
        if self._place is not None:
            self.action_open()
            return
        with notify_errors(self):
            following = await to_thread(_follow, self._folder)
            self.post_message(OpenDraft(following.config_for_new_run.model_dump()))

    def action_back(self) -> None:
        """Open the draft that was left."""
        self.post_message(OpenDraft(self.left_draft or defaults()))

    @work(exclusive=True, group="act")
    async def action_resume(self) -> None:
        """Resume and open the run under the cursor; a queued one that failed to start is retried."""
        if (place := self._place) is not None:
            self._queue.retry(place)
            self.show(self._summaries)
            return
        folder = self._folder
        with notify_errors(self):
            await to_thread(launch.resume, folder)
            self.post_message(OpenRun(folder))

    @work(exclusive=True, group="act")
    async def action_pause(self) -> None:
        """Pause or resume the run under the cursor."""
        with notify_errors(self):
            following = await to_thread(_follow, self._folder)
            self.notify(f"Run: {following.pause_or_resume()} after this step", timeout=2)

    @work
    async def action_stop(self) -> None:
        """Ask, then stop the run under the cursor."""
        folder = self._folder
        if await self._confirm("Stop training?", safe(folder.id), "Keep training", "Stop"):
            with notify_errors(self):
                send(folder, Stop(id=new_command_id()))

    def action_mark(self) -> None:
        """Mark or unmark the run or the folds under the cursor and move to the next row."""
        if self.row is not None:
            chosen = set(self.row.runs)
            self._marks = self._marks - chosen if self.row.marked else self._marks | chosen
            self.show(self._summaries)
            self._table.action_cursor_down()

    def action_unmark(self) -> None:
        """Unmark all runs."""
        self._marks.clear()
        self.show(self._summaries)

    def action_compare(self) -> None:
        """Compare the marked runs; a single one with the run under the cursor; without marks all of its dataset."""
        row = self.row
        chosen = set(self._marks)
        if len(chosen) < 2 and row is not None and row.place is None:
            datasets = {run.run: run.data for run in self._summaries}
            chosen |= set(row.runs) if chosen else {id for id, data in datasets.items() if data == datasets[row.run]}
        if len(chosen) < 2:
            self.notify("Too few runs marked. space: mark two or more, c: compare")
            return
        folders = [RunFolder(self._runs_dir / run.run) for run in self._summaries if run.run in chosen]
        self.post_message(CompareRuns(folders))

    def action_folds(self) -> None:
        """Open the cross-validation of the run under the cursor."""
        if self.row is not None and self.row.cross_validation:
            self.post_message(OpenFolds(self.row.cross_validation))

    def action_expand(self) -> None:
        """Show or hide the folds below the cross-validation under the cursor."""
        if self.row is not None:
            self._expanded ^= {self.row.cross_validation}
            self.show(self._summaries)

    def action_sweeps(self) -> None:
        """Choose a sweep to open."""
        self.post_message(ChooseSweep())

    @work
    async def action_delete(self) -> None:
        """Ask, then delete the run or the folds under the cursor; a queued one has no files and is removed at once."""
        if (place := self._place) is not None:
            del self._queue.waiting[place]
            self.show(self._summaries)
            return
        row = self.row
        if row is None:
            return
        from engine.experiments.cross_validation.definition import folder_of  # not needed before the first screen

        folders = [self._runs_dir / run for run in row.runs]
        about = f"{safe(row.run)}\nIts checkpoints and metrics are deleted too."
        if row.is_expanded is not None:
            about = f"{safe(row.cross_validation)}: {len(folders)} runs\nTheir checkpoints and metrics are deleted too."
            folders.append(folder_of(self._runs_dir, row.cross_validation).path)
        if row.status.is_alive:
            self.notify("Run is training; it can't be deleted. s: stop it first", severity="warning")
        elif await self._confirm("Delete?", about, "Keep", "Delete"):
            for path in folders:
                await to_thread(shutil.rmtree, path, ignore_errors=True)

    @on(DataTable.RowHighlighted)
    def _show_problem(self) -> None:
        """Show the problem of the run under the cursor."""
        problem = self.row.problem if self.row else ""
        self._problem.update(Content(safe(problem, 300)))
        self._problem.display = bool(problem)

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()

    @on(OptionList.OptionSelected)
    def _start_chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == "demo":
            self.action_demo()
        else:
            self.action_new()

    async def _confirm(self, title: str, text: str, no: str, yes: str) -> bool:
        return await self.app.push_screen_wait(Confirm(title, text, {"no": no, "yes": yes})) == "yes"

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self._runs_dir / (self.row.run if self.row else ""))

    @property
    def _place(self) -> int | None:
        """Position in the queue of the row under the cursor; None for a run."""
        return self.row.place if self.row else None


def _follow(folder: RunFolder) -> RunFollower:
    """The run so far, which takes a while for a long log. Raises InputError."""
    following = RunFollower(folder, steps=False)
    following.poll()
    return following


_WELCOME = Content.assemble(
    ("Transfer learning in the terminal", "bold $text-primary"),
    "\n\nFine-tune a pretrained network on your own images:\n"
    "choose which layers are trainable, and follow the run live.\n",
)
