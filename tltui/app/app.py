"""The app: opens screens, starts and queues runs, leaves in order. What is shown and decided lies elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import platformdirs
from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.worker import get_current_worker

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from tltui.app import terminal
from tltui.app.action_index import known_actions
from tltui.app.palette import Actions, bound_nodes
from tltui.app.themes import DEFAULT, HIGH_CONTRAST, SIXTEEN_COLOURS, load_themes
from tltui.engine_client.queries import EngineQueries
from tltui.keys import keymap
from tltui.runs.engine_pool import EnginePool
from tltui.runs.queue import RunQueue
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import RunFollower
from tltui.runs.run_list import RunList
from tltui.runs.status import is_alive
from tltui.screens.dialogs import Choose, Confirm
from tltui.screens.help import Help
from tltui.screens.home import Home
from tltui.screens.manual_palette import ManualPages
from tltui.screens.messages import (
    ComparisonWanted,
    DraftWanted,
    RunChosen,
    RunWanted,
    SettingsWanted,
    SweepsWanted,
    SweepWanted,
    Tables,
    WorkbenchLeft,
)
from tltui.screens.notify_errors import refusals_told
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe

if TYPE_CHECKING:
    from tltui.engine_client.sweep import SweepWorker
    from tltui.screens.workbench import Workbench
    from tltui.widgets.image_view import Kind

_SPOKEN_KEYS = frozenset({"enter", "up", "down", "left", "right"})


class TltuiApp(App[int]):
    """Home lies at the bottom, a workbench over it, dialogs over both."""

    TITLE = "tltui"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[type[Provider]]] = App.COMMANDS | {Actions, ManualPages}  # type: ignore[assignment]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p,colon", "command_palette", "all commands", id="app.palette", priority=True, show=False),
        Binding("question_mark", "help", "keys", id="app.help"),
        Binding("f1", "manual", "the manual, about what has the focus", id="app.manual", priority=True, show=False),
        Binding("M", "manual", "the manual, where the terminal takes F1", id="app.manual_letter", show=False),
        Binding("q", "quit", "leave", id="app.quit"),
    ]

    def __init__(
        self,
        runs_dir: Path,
        *,
        open_run: RunFolder | None = None,
        draft: RunConfig | None = None,
        ascii_only: bool = False,
        marker: str = "braille",
        images: Kind | None = None,
        theme: str | None = None,
        config_dir: Path | None = None,
        queries: EngineQueries | None = None,
        engines: EnginePool | None = None,
    ) -> None:
        """``config_dir`` holds the user's own keymap.toml and themes/; ``engines`` start runs."""
        super().__init__()
        self.glyphs: Glyphs = ASCII if ascii_only else UNICODE
        self.marker = "ascii" if ascii_only else marker
        self._images: Kind | None = images
        self.set_class(ascii_only, "-ascii")
        self.queries = queries or EngineQueries()
        self._config_dir = config_dir or platformdirs.user_config_path("tltui")
        self._open_run, self._draft = open_run, draft
        self._runs_dir = runs_dir
        self._table = RunList(runs_dir)
        self._engines = engines or EnginePool()
        self._queue = RunQueue(runs_dir, self._engines.start)
        self._summaries: list[RunSummary] | None = None
        self._home = Home(runs_dir, self._queue, self.glyphs)
        self._problems = [*self._load_themes(theme), *self._load_keymap()]

    async def on_mount(self) -> None:
        await self.push_screen(self._home)  # or the first look at the runs finds nowhere to show them
        if self._open_run is not None:
            self._open(self._open_run)
        elif self._draft is not None:
            self._open_draft(self._draft.model_dump())
        for problem in self._problems:
            self.notify(problem, severity="warning", timeout=10, markup=False)
        if self._open_run is None:  # else a long log would be read twice at once, and be there later
            self._look_at_runs()
        self.set_interval(1, self._look_at_runs)
        if not self.is_headless:
            terminal.leave_on_signals(lambda code: self.exit(return_code=code))
            self.set_interval(1, self._leave_if_input_is_gone)

    # The runs

    @work(thread=True, exclusive=True, group="runs", exit_on_error=False)
    def _look_at_runs(self) -> None:
        worker = get_current_worker()
        summaries = self._table.refresh()
        if not worker.is_cancelled:
            self.call_from_thread(self._runs_seen, summaries)

    def _runs_seen(self, summaries: list[RunSummary]) -> None:
        self._summaries = summaries
        try:
            if folder := self._queue.start_next(any(is_alive(run.status) for run in summaries)):
                self.notify(folder.id, title="The queued run starts", markup=False)
        except InputError as error:
            self.notify(str(error), title="The queued run could not start", severity="error", markup=False)
        # under another screen it would be drawn for nobody, and have all of the terminal sent anew
        if all(screen is self._home or screen.is_modal for screen in self.screen_stack[1:]):
            self._home.show(summaries)

    def _alive(self) -> list[RunSummary]:
        """The runs that train, as of now: one that was seen a second ago may be over. Reads no log."""
        seen = [run for run in self._summaries or [] if is_alive(run.status)]
        return [run for run in seen if run.status == "starting" or is_locked(RunFolder(Path(run.path)))]

    # Screens

    def _open(self, folder: RunFolder) -> None:
        with refusals_told(self, "This run can't be opened"):
            following = RunFollower(folder)
            self._open_workbench(following.config.model_dump(), following)

    def _open_draft(self, tables: Tables, focus: str = "") -> None:
        workbench = self._open_workbench(tables, None)
        self.call_after_refresh(self._engines.prewarm)
        if focus:
            self.call_after_refresh(workbench.open_setup, focus)

    def _back_to_runs(self) -> None:
        self.pop_screen()
        self._engines.release()
        self._home.show(self._summaries or [])

    def _open_workbench(self, tables: Tables, following: RunFollower | None) -> Workbench:
        from tltui.screens.workbench import Workbench  # not needed before the first screen is there

        workbench = Workbench(tables, following, self.queries, self.glyphs, self.marker, self._images)
        if isinstance(self.screen, Workbench):
            self.switch_screen(workbench)
        else:
            self.push_screen(workbench)
        return workbench

    @on(WorkbenchLeft)
    def _workbench_left(self, event: WorkbenchLeft) -> None:
        self._home.left_draft = event.tables or self._home.left_draft
        self._back_to_runs()

    @on(SettingsWanted)
    @work
    async def _settings_wanted(self, event: SettingsWanted) -> None:
        options = [(run.path, f"{run.run}  {run.status}") for run in self._summaries or []]
        if not options:
            self.notify("there is no other run yet")
            return
        path = await self.push_screen_wait(Choose("Take the settings of", options))
        if path is not None:
            with refusals_told(self):
                event.workbench.take_settings(RunFolder(Path(path)).load_config().model_dump())

    @on(RunWanted)
    @work
    async def _run_wanted(self, event: RunWanted) -> None:
        if alive := self._alive():
            question = Confirm(
                "A run is training",
                f"{alive[0].run} is still at work. This one can wait until it is done.",
                {"queue": "Queue it", "now": "Start it now"},
            )
            answer = await self.push_screen_wait(question)
            if answer == "queue":
                self._queue.add(event.config)
                self._home.left_draft = None
                self._back_to_runs()
            if answer != "now":
                return
        with refusals_told(self, "Not started"):
            folder = self._queue.start(event.config)
            self._home.left_draft = None
            event.workbench.follow(RunFollower(folder))
            self._look_at_runs()

    @on(RunChosen)
    def _run_chosen(self, event: RunChosen) -> None:
        self._open(event.folder)

    @on(ComparisonWanted)
    def _comparison_wanted(self, event: ComparisonWanted) -> None:
        from tltui.screens.compare import Compare  # not needed before the first screen is there

        self.push_screen(Compare(event.folders, self.glyphs, self.marker))

    @on(SweepWanted)
    def _sweep_wanted(self, event: SweepWanted) -> None:
        from tltui.engine_client.sweep import SweepWorker  # not needed before the first screen is there

        with refusals_told(self, "Not started"):
            path = event.filled.write(self._runs_dir, event.base)
            self._open_sweep(path.parent.name, SweepWorker(self._runs_dir, str(path)))

    @on(SweepsWanted)
    @work(exclusive=True, group="sweeps")
    async def _sweeps_wanted(self) -> None:
        from tltui.engine_client.sweep import list_sweeps
        from tltui.tables.trial_columns import sweep_line

        with refusals_told(self, "Sweeps can't be read"):
            sweeps = await list_sweeps(self._runs_dir)
            if not sweeps:
                self.notify("there is none yet: v in a draft begins one", title="Sweeps", timeout=4)
                return
            chosen = await self.push_screen_wait(
                Choose("Your sweeps", [(one.sweep, sweep_line(one)) for one in sweeps])
            )
            if chosen is not None:
                self._open_sweep(chosen, None)

    def _open_sweep(self, name: str, worker: SweepWorker | None) -> None:
        from tltui.screens.sweep import SweepScreen

        self.push_screen(SweepScreen(self._runs_dir, name, worker, self.glyphs))

    @on(DraftWanted)
    def _draft_wanted(self, event: DraftWanted) -> None:
        self._open_draft(event.tables, event.focus)

    # Leaving

    async def action_quit(self) -> None:
        """Leave; asks once while something trains or waits."""
        self._leave()

    @work
    async def _leave(self) -> None:
        alive, waiting = self._alive(), self._queue.waiting
        if alive or waiting:
            parts = [f"{len(alive)} training: it goes on without the app."] if alive else []
            parts += [f"{len(waiting)} in the queue: it will not start."] if waiting else []
            answers = {"leave": "Leave", **({"stop": "Stop it and leave"} if alive else {}), "stay": "Stay"}
            answer = await self.push_screen_wait(Confirm("Leave?", "\n".join(parts), answers))
            if answer not in ("leave", "stop"):
                return
            if answer == "stop":
                with refusals_told(self):
                    for run in alive:
                        RunFollower(RunFolder(Path(run.path))).stop()
        self.exit(0)

    def _leave_if_input_is_gone(self) -> None:
        if terminal.input_is_gone():
            self.exit(return_code=terminal.HUNG_UP)

    # Keys and colours

    def get_key_display(self, binding: Binding) -> str:
        """Keys as they are called, where Textual shows them as images."""
        return binding.key if binding.key in _SPOKEN_KEYS else super().get_key_display(binding)

    def action_help(self) -> None:
        """Show the keys in force on this screen."""
        if isinstance(self.screen, Help):
            return
        here = {bound.id: bound for _, bound in bound_nodes([self, self.screen, *self.screen.query("*")])}
        self.push_screen(Help(keymap.effective_keys(here, self._keymap), str(self._config_dir / "keymap.toml")))

    def action_manual(self, topic: str = "") -> None:
        """Open the manual at a topic, or at what has the focus; without a topic close it where it is open."""
        from tltui.manual.topics import find  # not needed before
        from tltui.screens.manual import Manual, location_for

        if not isinstance(self.screen, Manual):
            self.push_screen(Manual(find(topic) if topic else location_for(self.screen), self.glyphs))
        elif location := find(topic):
            self.screen.go_to(location)
        else:
            self.screen.dismiss()

    def _load_keymap(self) -> list[str]:
        wanted, problems = keymap.load_keymap(self._config_dir / "keymap.toml", known_actions)
        self.set_keymap(wanted)
        return problems

    def _load_themes(self, wanted: str | None) -> list[str]:
        themes, problems = load_themes(self._config_dir / "themes")
        for theme in themes:
            self.register_theme(theme)
        if self.no_color:  # Textual makes all colours grey; the sixteen, whose shade it can not know, black on black
            for name in [name for name, theme in self.available_themes.items() if theme.ansi]:
                self.unregister_theme(name)
        known = self.available_themes
        if wanted is not None and wanted not in known:
            problems.append(f"there is no theme {safe(wanted)}; {', '.join(sorted(known))}")
        few_colours = self.console.color_system == "standard"
        fitting = DEFAULT if not few_colours else HIGH_CONTRAST if self.no_color else SIXTEEN_COLOURS
        self.theme = wanted if wanted in known else fitting
        return problems


def run_app(
    runs_dir: Path,
    open_run: RunFolder | None = None,
    *,
    mouse: bool = True,
    ascii_only: bool = False,
    marker: str = "braille",
    images: Kind | None = None,
    theme: str | None = None,
) -> int:
    """Run the app on this terminal until the user leaves; returns the exit status of the command.

    ``tltui.app.terminal.set_pace`` is to be called before this module is imported.
    """
    app = TltuiApp(runs_dir, open_run=open_run, ascii_only=ascii_only, marker=marker, images=images, theme=theme)
    app.run(mouse=mouse)
    return app.return_code or 0
