"""The app: opens screens, answers their requests, loads themes and keymap, leaves gracefully."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import platformdirs
from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.worker import get_current_worker

from engine.config.schema import RunConfig
from engine.runs.folder import RunFolder
from tltui.app import terminal
from tltui.app.action_index import known_actions
from tltui.app.palette import Actions, bound_nodes
from tltui.app.run_requests import RunRequests
from tltui.app.themes import DEFAULT, HIGH_CONTRAST, SIXTEEN_COLOURS, load_themes
from tltui.engine_client.queries import EngineQueries
from tltui.keys import keymap
from tltui.runs.engine_pool import EnginePool
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import RunFollower
from tltui.screens.help import Help
from tltui.screens.home import Home
from tltui.screens.manual_palette import ManualPages
from tltui.screens.messages import (
    ChooseSweep,
    CompareRuns,
    CopySettings,
    LeaveWorkbench,
    OpenDraft,
    OpenFolds,
    OpenRun,
    StartFolds,
    StartRun,
    StartSweep,
    Tables,
)
from tltui.screens.notify_errors import notify_errors
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe

if TYPE_CHECKING:
    from tltui.engine_client.background import BackgroundCommand
    from tltui.screens.workbench import Workbench
    from tltui.widgets.image_view import Kind

_FUNCTION_KEY = re.compile(r"f\d+")
_SPOKEN_KEYS = frozenset({"enter", "up", "down", "left", "right"})


class TltuiApp(App[int]):
    """The stack of screens: home, above it a workbench, above that dialogs."""

    TITLE = "tltui"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[type[Provider]]] = App.COMMANDS | {Actions, ManualPages}  # type: ignore[assignment]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p,colon", "command_palette", "command palette", id="app.palette", priority=True, show=False),
        Binding("question_mark", "help", "keys", id="app.help"),
        Binding("f1", "manual", "manual page for what is in focus", id="app.manual", priority=True, show=False),
        Binding("M", "manual", "manual, where the terminal keeps F1", id="app.manual_letter", show=False),
        Binding("q", "quit", "leave tltui", id="app.quit"),
    ]

    def __init__(
        self,
        runs_dir: Path,
        *,
        open_run: RunFolder | None = None,
        open_folds: str = "",
        draft: RunConfig | None = None,
        ascii_only: bool = False,
        marker: str = "braille",
        images: Kind | None = None,
        theme: str | None = None,
        config_dir: Path | None = None,
        queries: EngineQueries | None = None,
        engines: EnginePool | None = None,
    ) -> None:
        """``config_dir`` holds the user's keymap.toml and themes/; ``engines`` start runs.

        ``open_folds``: the name of a cross-validation to open.
        """
        super().__init__()
        self.glyphs: Glyphs = ASCII if ascii_only else UNICODE
        self.marker = "ascii" if ascii_only else marker
        self._images: Kind | None = images
        self.set_class(ascii_only, "-ascii")
        self.queries = queries or EngineQueries()
        self._config_dir = config_dir or platformdirs.user_config_path("tltui")
        self._open_run, self._draft = open_run, draft
        self._open_folds_at_start = open_folds
        self._runs_dir = runs_dir
        self._engines = engines or EnginePool()
        self._requests = RunRequests(self, runs_dir, self._engines)
        self._home = Home(runs_dir, self._requests.queue, self.queries, self.glyphs)
        self._problems = [*self._load_themes(theme), *self._load_keymap()]

    async def on_mount(self) -> None:
        await self.push_screen(self._home)  # before the first poll, which shows its runs there
        if self._open_run is not None:
            self._open(self._open_run)
        elif self._open_folds_at_start:
            self._open_folds(self._open_folds_at_start)
        elif self._draft is not None:
            self._open_draft(self._draft.model_dump())
        for problem in self._problems:
            self.notify(problem, severity="warning", timeout=10, markup=False)
        if self._open_run is None:  # else a long log would be read twice at once
            self._poll_runs()
        self.set_interval(1, self._poll_runs)
        if not self.is_headless:
            terminal.leave_on_signals(lambda code: self.exit(return_code=code))
            self.set_interval(1, self._leave_if_input_is_gone)

    @work(thread=True, exclusive=True, group="runs", exit_on_error=False)
    def _poll_runs(self) -> None:
        worker = get_current_worker()
        summaries = self._requests.table.refresh()
        if not worker.is_cancelled:
            self.call_from_thread(self._show_runs, summaries)

    def _show_runs(self, summaries: list[RunSummary]) -> None:
        self._requests.update(summaries)
        # a home that another screen covers would be sent to the terminal for nothing
        if all(screen is self._home or screen.is_modal for screen in self.screen_stack[1:]):
            self._home.show(summaries)

    # Screens

    def _open(self, folder: RunFolder) -> None:
        with notify_errors(self, "Run can't be opened"):
            following = RunFollower(folder)
            self._open_workbench(following.config.model_dump(), following)

    def _open_draft(self, tables: Tables, focus: str = "") -> None:
        workbench = self._open_workbench(tables, None)
        self.call_after_refresh(self._engines.prewarm)
        if focus:
            self.call_after_refresh(workbench.focus_setting, focus)

    def _open_workbench(self, tables: Tables, following: RunFollower | None) -> Workbench:
        from tltui.screens.workbench import Workbench  # not needed before the first screen

        workbench = Workbench(tables, following, self.queries, self._runs_dir, self.glyphs, self.marker, self._images)
        if isinstance(self.screen, Workbench):
            self.switch_screen(workbench)
        else:
            self.push_screen(workbench)
        return workbench

    def _open_sweep(self, name: str, worker: BackgroundCommand | None) -> None:
        from tltui.screens.sweep import SweepScreen

        self.push_screen(SweepScreen(self._runs_dir, name, worker, self.glyphs))

    def _open_folds(self, name: str, folds: int = 0, worker: BackgroundCommand | None = None) -> None:
        from tltui.screens.folds import FoldsScreen

        self.push_screen(FoldsScreen(self._runs_dir, name, folds, worker))

    def _return_home(self) -> None:
        self.pop_screen()
        self._engines.release()
        self._home.show(self._requests.summaries)

    # Requests of screens

    @on(OpenRun)
    def _open_run_requested(self, request: OpenRun) -> None:
        self._open(request.folder)

    @on(OpenDraft)
    def _open_draft_requested(self, request: OpenDraft) -> None:
        self._open_draft(request.tables, request.focus)

    @on(LeaveWorkbench)
    def _leave_workbench(self, request: LeaveWorkbench) -> None:
        self._home.left_draft = request.tables or self._home.left_draft
        self._return_home()

    @on(CopySettings)
    @work
    async def _copy_settings(self, request: CopySettings) -> None:
        await self._requests.copy_settings(request)

    @on(StartRun)
    @work
    async def _start_run(self, request: StartRun) -> None:
        queued = len(self._requests.queue.waiting)
        if following := await self._requests.start(request):
            self._home.left_draft = None
            request.draft.follow(following)
            self._poll_runs()
        elif len(self._requests.queue.waiting) > queued:
            self._home.left_draft = None
            self._return_home()

    @on(CompareRuns)
    def _compare_runs(self, request: CompareRuns) -> None:
        from tltui.screens.compare import Compare  # not needed before the first screen

        self.push_screen(Compare(request.folders, self.glyphs, self.marker))

    @on(StartFolds)
    def _start_folds(self, request: StartFolds) -> None:
        if started := self._requests.start_folds(request):
            validation, worker = started
            self._open_folds(validation.name, validation.folds, worker)

    @on(OpenFolds)
    def _open_folds_requested(self, request: OpenFolds) -> None:
        self._open_folds(request.name)

    @on(StartSweep)
    def _start_sweep(self, request: StartSweep) -> None:
        if started := self._requests.start_sweep(request):
            self._open_sweep(*started)

    @on(ChooseSweep)
    @work(exclusive=True, group="sweeps")
    async def _choose_sweep(self) -> None:
        if name := await self._requests.choose_sweep():
            self._open_sweep(name, None)

    # Leaving

    async def action_quit(self) -> None:
        """Leave; asks once while a run trains or waits."""
        self._leave()

    @work
    async def _leave(self) -> None:
        if await self._requests.may_leave():
            self.exit(0)

    def _leave_if_input_is_gone(self) -> None:
        if terminal.input_is_gone():
            self.exit(return_code=terminal.HUNG_UP)

    # Keys and colours

    def get_key_display(self, binding: Binding) -> str:
        """Names of keys where Textual shows symbols, and F1 for f1."""
        if binding.key in _SPOKEN_KEYS:
            return binding.key
        display = super().get_key_display(binding)
        return display.upper() if _FUNCTION_KEY.fullmatch(display) else display

    def action_help(self) -> None:
        """Show the keys of this screen."""
        if isinstance(self.screen, Help):
            return
        here = {bound.id: bound for _, bound in bound_nodes([self, self.screen, *self.screen.query("*")])}
        self.push_screen(Help(keymap.effective_keys(here, self._keymap), str(self._config_dir / "keymap.toml")))

    def action_manual(self, topic: str = "") -> None:
        """Open the manual at a topic, or at what is in focus; on the manual without a topic, close it."""
        from tltui.manual.topics import find  # not needed before
        from tltui.screens.manual import Manual, location_for

        if not isinstance(self.screen, Manual):
            self.push_screen(Manual(find(topic) if topic else location_for(self.screen), self.glyphs))
        elif location := find(topic):
            self.screen.go_to(location)
        else:
            self.screen.dismiss()

    def _load_keymap(self) -> list[str]:
        keys, problems = keymap.load_keymap(self._config_dir / "keymap.toml", lambda: known_actions(type(self)))
        self.set_keymap(keys)
        return problems

    def _load_themes(self, requested: str | None) -> list[str]:
        themes, problems = load_themes(self._config_dir / "themes")
        for theme in themes:
            self.register_theme(theme)
        if self.no_color:  # Textual turns colours into greys; of the sixteen it makes black on black
            for name in [name for name, theme in self.available_themes.items() if theme.ansi]:
                self.unregister_theme(name)
        known = self.available_themes
        if requested is not None and requested not in known:
            problems.append(f"theme {safe(requested)} not found; choose one of {', '.join(sorted(known))}")
        few_colours = self.console.color_system == "standard"
        fitting = DEFAULT if not few_colours else HIGH_CONTRAST if self.no_color else SIXTEEN_COLOURS
        self.theme = requested if requested in known else fitting
        return problems


def run_app(
    runs_dir: Path,
    open_run: RunFolder | None = None,
    *,
    open_folds: str = "",
    mouse: bool = True,
    ascii_only: bool = False,
    marker: str = "braille",
    images: Kind | None = None,
    theme: str | None = None,
) -> int:
    """Run the app on this terminal until the user leaves; returns the exit status.

    Call ``tltui.app.terminal.set_pace`` before importing this module.
    """
    app = TltuiApp(
        runs_dir,
        open_run=open_run,
        open_folds=open_folds,
        ascii_only=ascii_only,
        marker=marker,
        images=images,
        theme=theme,
    )
    app.run(mouse=mouse)
    return app.return_code or 0
