"""A worker of a sweep: takes trials from the study, trains their runs, and records the results in the study."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from engine.config.toml_io import with_settings
from engine.errors import InputError
from engine.experiments.sweep.definition import LOG
from engine.experiments.sweep.events import (
    SweepEvent,
    SweepStarted,
    TrialEpoch,
    TrialFinished,
    TrialResult,
    TrialStarted,
)
from engine.experiments.sweep.results import RESULT, STATUS, settings_of
from engine.experiments.sweep.search_space import Choices, Dimension
from engine.experiments.sweep.study import Study
from engine.experiments.sweep.trial import ActiveTrial
from engine.process.fork_server import ForkReport
from engine.process.forked_engines import ForkedEngines
from engine.runs.events import RunFinished
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked

_POLL_INTERVAL = 0.05  # seconds
_STORAGE_INTERVAL = 1.0  # seconds between queries for new trials and stop requests
_MAX_RETRIES = 1  # of a trial whose engine dies
_PREFIX_SECTIONS = ("data.", "model.", "freeze.")  # settings that change the features of the frozen prefix


class Worker:
    """Runs trials until the budget is used or it is asked to stop."""

    def __init__(self, study: Study, runs: Path, emit: Callable[[SweepEvent], None]) -> None:
        """``runs``: the folder in which the trials' runs are created. ``emit``: receives the sweep's events."""
        self._study = study
        self._runs = runs
        self._emit = emit
        self._running: list[ActiveTrial] = []
        self._deadline = time.monotonic() + 60 * study.sweep.minutes if study.sweep.minutes else float("inf")
        self._filling_cache = not study.trials and _share_prefix(study.sweep.space)
        self._next_ask = 0.0
        self._stops = study.stops
        self._asked_to_stop = False
        self._next_stop_check = 0.0
        self._error: InputError | None = None

    def work(self, wants_stop: Callable[[], bool]) -> None:
        """Run trials. Once ``wants_stop`` returns True, running trials stop with checkpoints and can be resumed.

        Raises InputError where the first trials fail for a reason that concerns all, or where engines can't start.
        """
        engines = self._engines = ForkedEngines(self._runs / LOG, self._study.sweep.parallel)
        self._emit_start()
        try:
            while True:
                stopping = wants_stop() or self._stop_requested() or self._error is not None
                if stopping:
                    for active in self._running:
                        active.stop(pruned=False)
                elif not self._start_trials() and not self._running:
                    return
                for active in list(self._running):
                    try:
                        self._poll(active, stopping)
                    except UpdateFinishedTrialError:
                        self._drop(active)
                if stopping and not self._running:
                    break
                time.sleep(_POLL_INTERVAL)
        finally:
            engines.detach()
        if self._error is not None:
            raise self._error

    def _stop_requested(self) -> bool:
        """Whether all workers of the sweep were asked to stop since this one started."""
        now = time.monotonic()
        if now > self._next_stop_check:
            self._next_stop_check = now + _STORAGE_INTERVAL
            self._asked_to_stop = self._study.stops > self._stops
        return self._asked_to_stop

    def _emit_start(self) -> None:
        sweep = self._study.sweep
        self._emit(
            SweepStarted(
                sweep=sweep.name,
                storage=self._study.storage,
                settings=[dimension.name for dimension in sweep.space],
                sampler=sweep.sampler,
                pruner=sweep.pruner,
                trials=sum(trial.state.is_finished() for trial in self._study.trials),
                wanted=sweep.wanted,
                parallel=sweep.parallel,
            )
        )

    def _start_trials(self) -> bool:
        """Start trials up to the parallel limit; returns whether there may be more to start."""
        now = time.monotonic()
        if now > self._deadline:
            return False
        if self._running and now < self._next_ask:
            return True
        while len(self._running) < (1 if self._filling_cache else self._study.sweep.parallel):
            trial = self._study.adopt_orphan()
            if trial:
                self._resume(trial)
                continue
            trial = self._study.ask()
            if trial is None:
                self._next_ask = now + _STORAGE_INTERVAL
                return False
            self._start(trial)
        return True

    def _start(self, trial: optuna.Trial) -> None:
        """Create and start the run of a new trial. Incompatible settings fail without a run."""
        sweep = self._study.sweep
        settings = settings_of(sweep, trial.params)
        try:
            config = with_settings(sweep.config, settings)
        except InputError as error:
            failed = TrialResult(trial.number, "", "failed", settings, reason=str(error))
            trial.set_user_attr(RESULT, msgspec.to_builtins(failed))
            self._study.tell(trial, TrialState.FAIL)
            self._emit(TrialFinished(failed))
            return
        folder = create(self._runs, config)
        trial.set_user_attr("run", str(folder.path))
        self._engines.start(folder)
        self._add(ActiveTrial(trial, folder, settings), resumed=False)

    def _resume(self, trial: optuna.Trial) -> None:
        """Resume a trial whose worker is gone. Its run may be training, finished, stopped or on another machine."""
        run = trial.user_attrs.get("run", "")
        if not run:
            if set(trial.params) == {dimension.name for dimension in self._study.sweep.space}:
                self._start(trial)
            else:
                self._study.tell(trial, TrialState.FAIL)
            return
        folder = RunFolder(Path(run))
        settings = settings_of(self._study.sweep, trial.params)
        active = ActiveTrial(trial, folder, settings)
        active.catch_up(self._study.epochs_of(trial))
        if not folder.config.is_file():
            self._end(active, ForkReport(), TrialState.FAIL, "its run is no longer on this machine")
        elif is_locked(folder):
            self._engines.watch(folder)
            self._add(active, resumed=True)
        elif active.finished and active.finished.status == "completed":
            self._handle_end(active, ForkReport(), stopping=False)
        else:
            active.finished = None
            self._engines.start(folder)
            self._add(active, resumed=True)

    def _add(self, active: ActiveTrial, *, resumed: bool) -> None:
        self._running.append(active)
        self._emit(TrialStarted(active.trial.number, str(active.folder.path), active.settings, resumed))

    def _poll(self, active: ActiveTrial, stopping: bool) -> None:
        report = self._engines.ended(active.folder)
        for epoch in active.poll():
            self._filling_cache = False
            best = active.best or epoch
            scores = epoch.val_score, best.val_score, epoch.score
            self._emit(TrialEpoch(active.trial.number, epoch.epoch, active.planned, *scores))
            if active.report(epoch) and epoch.epoch < active.planned:
                active.stop(pruned=True)
        self._study.heartbeat(active.trial)
        if report is not None:
            self._filling_cache = False
            self._running.remove(active)
            self._handle_end(active, report, stopping)

    def _drop(self, active: ActiveTrial) -> None:
        """Stop a trial that another worker has finished, taking this one for gone. The first result counts."""
        active.stop(pruned=False)
        if active in self._running:
            self._running.remove(active)
        status = STATUS[self._study.state_of(active.trial)]
        reason = "another worker ended it, since this one sent no heartbeat"
        result = TrialResult(active.trial.number, str(active.folder.path), status, active.settings, reason=reason)
        self._emit(TrialFinished(result))

    def _handle_end(self, active: ActiveTrial, report: ForkReport, stopping: bool) -> None:
        """Finish, retry or fail a trial whose engine has ended."""
        match active.finished:
            case RunFinished(status="completed"):
                self._end(active, report, TrialState.COMPLETE)
            case RunFinished(status="stopped") if active.pruned:
                self._end(active, report, TrialState.PRUNED)
            case RunFinished(status="stopped") if stopping:
                self._release(active, report)
            case RunFinished(status="stopped", reason=reason):
                self._end(active, report, TrialState.PRUNED if active.epochs else TrialState.FAIL, reason)
            case RunFinished(status="failed", reason=reason, exit_code=exit_code):
                self._end(active, report, TrialState.FAIL, reason)
                if exit_code == 2 and not self._study.has_result():
                    self._error = InputError(f"trial {active.trial.number}: {reason}")
            case _ if stopping:
                self._release(active, report)
            case _ if active.crashes < _MAX_RETRIES:
                active.crashes += 1
                self._engines.start(active.folder)
                self._add(active, resumed=True)
            case _:
                self._end(active, report, TrialState.FAIL, f"its engine crashed twice; see {active.folder.log}")

    def _release(self, active: ActiveTrial, report: ForkReport) -> None:
        """Leave a stopped trial, so that it can be resumed."""
        self._study.release(active.trial)
        self._emit(TrialFinished(active.result("stopped", report.memory, "")))

    def _end(self, active: ActiveTrial, report: ForkReport, state: TrialState, reason: str = "") -> None:
        if state == TrialState.COMPLETE and (active.best is None or active.best.val_score is None):
            state, reason = TrialState.FAIL, "its validation score is undefined"
        result = active.result(STATUS[state], report.memory, reason)
        value = active.best.objective if active.best and state == TrialState.COMPLETE else None
        self._study.tell(active.trial, state, value)
        self._emit(TrialFinished(result))


def _share_prefix(space: list[Dimension]) -> bool:
    """Whether all trials share the frozen prefix, so that the first one should fill the feature cache alone."""
    keys = [key for one in space for key in (one.keys if isinstance(one, Choices) else (one.key,))]
    return not any(key.startswith(_PREFIX_SECTIONS) for key in keys)
