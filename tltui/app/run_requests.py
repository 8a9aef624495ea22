"""Answers requests about runs and sweeps: start, queue, copy settings, leave. Asks the user where needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from engine.runs.run_status import RunStatus
from tltui.runs.engine_pool import EnginePool
from tltui.runs.queue import RunQueue
from tltui.runs.registry import RunSummary
from tltui.runs.run_follower import RunFollower
from tltui.runs.run_list import RunList
from tltui.screens.dialogs import Choose, Confirm
from tltui.screens.messages import CopySettings, StartFolds, StartRun, StartSweep
from tltui.screens.notify_errors import notify_errors

if TYPE_CHECKING:
    from engine.experiments.cross_validation.definition import CrossValidation
    from tltui.engine_client.background import BackgroundCommand


class RunRequests:
    """Knows the runs and the queue of one app."""

    def __init__(self, app: App[int], runs_dir: Path, engines: EnginePool) -> None:
        self.queue = RunQueue(runs_dir, engines.start)
        self.table = RunList(runs_dir)
        self.summaries: list[RunSummary] = []
        """The runs at the last poll."""
        self._app = app
        self._runs_dir = runs_dir

    def update(self, summaries: list[RunSummary]) -> None:
        """Keep ``summaries`` and start the next queued run once no run is alive."""
        self.summaries = summaries
        try:
            if folder := self.queue.start_next(any(run.status.is_alive for run in summaries)):
                self._app.notify(folder.id, title="Queued run started", markup=False)
        except InputError as error:
            self._app.notify(str(error), title="Queued run not started", severity="error", markup=False)

    def alive(self) -> list[RunSummary]:
        """The runs that are alive now: their locks are checked, their logs are not read."""
        seen = [run for run in self.summaries if run.status.is_alive]
        return [run for run in seen if run.status is RunStatus.STARTING or is_locked(RunFolder(Path(run.path)))]

    async def start(self, request: StartRun) -> RunFollower | None:
        """Start a run; where another trains, ask whether to queue it. None: it is queued, or nothing was done."""
        if alive := self.alive():
            question = Confirm(
                "A run is training",
                f"{alive[0].run} is training. Queue this run until it ends?",
                {"queue": "Queue", "now": "Start now"},
            )
            answer = await self._app.push_screen_wait(question)
            if answer == "queue":
                self.queue.add(request.config)
            if answer != "now":
                return None
        with notify_errors(self._app, "Run not started"):
            return RunFollower(self.queue.start(request.config))
        return None

    async def copy_settings(self, request: CopySettings) -> None:
        """Ask for a run and load its settings into a draft."""
        options = [(run.path, f"{run.run}  {run.status}") for run in self.summaries]
        if not options:
            self._app.notify("No other run to copy settings from")
            return
        path = await self._app.push_screen_wait(Choose("Copy settings from", options))
        if path is not None:
            with notify_errors(self._app):
                request.draft.load_settings(RunFolder(Path(path)).load_config().model_dump())

    def start_folds(self, request: StartFolds) -> tuple[CrossValidation, BackgroundCommand] | None:
        """Start training the folds of a cross-validation."""
        from engine.experiments.cross_validation.definition import define  # not needed before the first screen
        from tltui.engine_client.cross_validation import start_folds

        with notify_errors(self._app, "Cross-validation not started"):
            validation = define(request.base, request.base.data.folds)
            return validation, start_folds(self._runs_dir, validation)
        return None

    def start_sweep(self, request: StartSweep) -> tuple[str, BackgroundCommand] | None:
        """Start a sweep's worker; returns the sweep's name and the worker."""
        from tltui.engine_client.sweep import start_worker  # not needed before the first screen

        with notify_errors(self._app, "Sweep not started"):
            path = request.filled.write(self._runs_dir, request.base)
            return path.parent.name, start_worker(self._runs_dir, str(path))
        return None

    async def choose_sweep(self) -> str | None:
        """Ask for one of the existing sweeps; returns its name."""
        from tltui.engine_client.sweep import list_sweeps
        from tltui.tables.trial_columns import sweep_line

        with notify_errors(self._app, "Sweeps can't be read"):
            sweeps = await list_sweeps(self._runs_dir)
            if sweeps:
                return await self._app.push_screen_wait(
                    Choose("Sweeps", [(one.sweep, sweep_line(one)) for one in sweeps])
                )
            self._app.notify("No sweeps yet. v in a draft: start one", title="Sweeps", timeout=4)
        return None

    async def may_leave(self) -> bool:
        """Ask before leaving while runs train or wait; stops them if the user says so."""
        alive, waiting = self.alive(), self.queue.waiting
        if not (alive or waiting):
            return True
        parts = [f"{len(alive)} training: continues without the app"] if alive else []
        parts += [f"{len(waiting)} queued: will not start"] if waiting else []
        answers = {"leave": "Leave", **({"stop": "Stop and leave"} if alive else {}), "stay": "Stay"}
        answer = await self._app.push_screen_wait(Confirm("Leave?", "\n".join(parts), answers))
        if answer == "stop":
            with notify_errors(self._app):
                for run in alive:
                    RunFollower(RunFolder(Path(run.path))).stop()
        return answer in ("leave", "stop")
