"""The screen of a cross-validation: the means of the metrics, and the folds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from engine.experiments.cross_validation.definition import folder_of
from engine.experiments.cross_validation.events import CrossValidationSummary, FoldResult, Status
from engine.experiments.cross_validation.summary import summarize
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Stop
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from tltui.engine_client.background import BackgroundCommand
from tltui.engine_client.cross_validation import continue_folds
from tltui.screens.dialogs import Confirm
from tltui.screens.messages import OpenRun
from tltui.screens.notify_errors import notify_errors
from tltui.tables.cross_validation import HEADINGS, fold_cells, fold_counts, mean_rows
from tltui.text.glyphs import safe
from tltui.widgets.key_line import KeyLine
from tltui.widgets.styled_rows import styled_rows
from tltui.widgets.table_refill import refill
from tltui.widgets.title_line import TitleLine

_POLL = 1.0  # seconds between two looks at the runs
_WIDTHS = {"fold": 5, "state": 11, "val": 7, "test": 7, "epoch": 9, "time": 9, "run": 8}
_STATES: dict[Status, str] = {
    "running": "$text-primary",
    "completed": "$text-success",
    "failed": "$text-error",
    "stopped": "$text-warning",
    "waiting": "$text-muted",
}


class FoldsTable(DataTable[Content], inherit_bindings=False):
    """The folds. ``enter`` stays a key of the screen, which shows it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "previous fold", id="folds.previous", show=False),
        Binding("down", "cursor_down", "next fold", id="folds.next", show=False),
        Binding("pageup", "page_up", "page up", id="folds.page_up", show=False),
        Binding("pagedown", "page_down", "page down", id="folds.page_down", show=False),
        Binding("home", "scroll_top", "first fold", id="folds.first", show=False),
        Binding("end", "scroll_bottom", "last fold", id="folds.last", show=False),
    ]


class FoldsScreen(Screen[None]):
    """Follows a cross-validation, whichever process trains it. Leaving the screen does not stop it."""

    manual_topic = "experiments"

    DEFAULT_CSS = """
    FoldsScreen DataTable { height: auto; max-height: 50%; margin: 1 1 0 1; background: transparent; }
    FoldsScreen #found { height: 1fr; margin: 0 1; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open the run of this fold", id="folds.open"),
        Binding("s", "stop", "stop with a checkpoint", id="folds.stop"),
        Binding("r", "resume", "continue the cross-validation", id="folds.resume"),
        Binding("escape", "leave", "back; training continues", id="folds.leave"),
    ]

    def __init__(self, runs_dir: Path, name: str, folds: int = 0, worker: BackgroundCommand | None = None) -> None:
        """``folds``: as in ``summarize``. ``worker``: trains them, if this app has just started it."""
        super().__init__()
        self._runs_dir = runs_dir
        self._name = name
        self._folds = folds
        self._worker = worker
        self._summary: CrossValidationSummary | None = None
        self._is_running = worker is not None
        self._title = TitleLine()
        self._found = Static()
        self._table = FoldsTable(cursor_type="row")

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._table
        with VerticalScroll(id="found", can_focus=False):
            yield self._found
        yield KeyLine()

    def on_mount(self) -> None:
        self._title.show(f"cross-validation {safe(self._name, 40)}", Content("reading"))
        self._table.focus()
        self._poll()
        self.set_interval(_POLL, self._poll)

    @work(thread=True, exclusive=True, group="folds", exit_on_error=False)
    def _poll(self) -> None:
        worker = get_current_worker()
        summary = summarize(self._runs_dir, self._name, self._folds)
        is_running = is_locked(folder_of(self._runs_dir, self._name))
        if not worker.is_cancelled:
            self.app.call_from_thread(self._update, summary, is_running)

    def _update(self, summary: CrossValidationSummary, is_running: bool) -> None:
        if self._worker is not None and not self._worker.is_running:
            if error := self._worker.error:
                self.notify(safe(error, 1000), title="Cross-validation failed", severity="error", markup=False)
            self._worker = None
        self._is_running = is_running or self._worker is not None
        if summary != self._summary:
            self._summary = summary
            self._show(summary)
        self.refresh_bindings()

    def _show(self, summary: CrossValidationSummary) -> None:
        self._title.show(f"cross-validation {safe(summary.name, 40)}", Content(fold_counts(summary)))
        columns = {key: (key, _WIDTHS[key]) for key in HEADINGS}
        rows = {}
        for one in summary.folds:
            cells = fold_cells(one)
            rows[str(one.fold)] = [
                Content.styled(cells[key], _STATES[one.status]) if key == "state" else Content(cells[key])
                for key in HEADINGS
            ]
        under_cursor = str(self._table.cursor_row + 1) if self._table.row_count else None
        refill(self._table, columns, rows, under_cursor)
        failed = [one for one in summary.folds if one.status == "failed"]
        notes = [[(f"fold {one.fold} failed: {safe(one.reason, 300)}", "mark")] for one in failed]
        self._found.update(styled_rows([*mean_rows(summary), *notes]))

    @property
    def _fold(self) -> FoldResult | None:
        """The fold under the cursor."""
        folds = self._summary.folds if self._summary else []
        return folds[self._table.cursor_row] if self._table.cursor_row < len(folds) else None

    @property
    def _training(self) -> FoldResult | None:
        folds = self._summary.folds if self._summary else []
        return next((fold for fold in folds if fold.status == "running"), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is possible now."""
        summary = self._summary
        possible = {
            "open": self._fold is not None and bool(self._fold.run),
            "stop": self._training is not None,
            "resume": summary is not None and not self._is_running and summary.completed < len(summary.folds),
        }
        return possible.get(action, True)

    def action_open(self) -> None:
        """Open the run of the fold under the cursor."""
        if (fold := self._fold) is not None and fold.run:
            self.post_message(OpenRun(RunFolder(Path(fold.run))))

    @work
    async def action_stop(self) -> None:
        """Ask, then stop the running fold, which ends the cross-validation."""
        question = Confirm(
            "Stop the cross-validation?",
            "The running fold stops with a checkpoint. r: continue",
            {"no": "Keep training", "yes": "Stop"},
        )
        if await self.app.push_screen_wait(question) == "yes" and (fold := self._training) is not None:
            with notify_errors(self, "Not stopped"):
                send(RunFolder(Path(fold.run)), Stop(id=new_command_id()))
                self.notify("Cross-validation stops after this step", timeout=3)

    def action_resume(self) -> None:
        """Continue with the folds that are not completed."""
        if self._summary is not None:
            with notify_errors(self, "Not continued"):
                self._worker = continue_folds(self._runs_dir, self._name, len(self._summary.folds))
                self._is_running = True
                self.refresh_bindings()

    def action_leave(self) -> None:
        """Leave; training continues."""
        self.dismiss()

    @on(DataTable.RowSelected)
    def _clicked(self) -> None:
        self.action_open()

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self.refresh_bindings()
