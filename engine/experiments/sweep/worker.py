"""A worker of a sweep: takes trials from the study, has their runs trained, tells the study what came of them."""

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
from engine.experiments.sweep.trial_engines import TrialEngines
from engine.process.fork_server import ForkReport
from engine.runs.events import RunFinished
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked

_LOOK = 0.05  # seconds between looks at the trials
_ASK_AGAIN = 1.0  # seconds until a storage that had no trial is asked again while others are under way
_MOST_LOSSES = 1  # engines of one trial that may die before it is given up
_WHAT_IMAGES_GO_THROUGH = ("data.", "model.", "freeze.")  # sections that decide what frozen layers compute


class Worker:
    """Conducts trials until no other is wanted, time is up, or it is asked to stop."""

    def __init__(self, study: Study, runs: Path, tell: Callable[[SweepEvent], None]) -> None:
        """``runs``: a folder, in which the trials' runs are made; ``tell`` is given what happens, as it happens."""
        self._study = study
        self._runs = runs
        self._tell = tell
        self._under_way: list[ActiveTrial] = []
        self._give_up_at = time.monotonic() + 60 * study.sweep.minutes if study.sweep.minutes else float("inf")
        self._alone = not study.trials and _share_prefix(study.sweep.space)
        self._ask_again_at = 0.0
        self._stops = study.stops
        self._asked_to_stop = False
        self._asks_at = 0.0
        self._refused: InputError | None = None

    def work(self, wants_stop: Callable[[], bool]) -> None:
        """Once ``wants_stop`` is true, trials under way are stopped and can go on later, in this sweep.

        Raises InputError where the first trials are refused for a reason that concerns all, or engines can't be had.
        """
        engines = self._engines = TrialEngines(self._runs / LOG, self._study.sweep.parallel)
        self._tell_start()
        try:
            while True:
                stopping = wants_stop() or self._was_asked_to_stop() or self._refused is not None
                if stopping:
                    for one in self._under_way:
                        one.stop(hopeless=False)
                elif not self._fill() and not self._under_way:
                    return
                for one in list(self._under_way):
                    try:
                        self._look_at(one, stopping)
                    except UpdateFinishedTrialError:
                        self._let_go(one)
                if stopping and not self._under_way:
                    break
                time.sleep(_LOOK)
        finally:
            engines.leave()
        if self._refused is not None:
            raise self._refused

    def _was_asked_to_stop(self) -> bool:
        """Whether all workers of the sweep were asked to stop since this one began."""
        now = time.monotonic()
        if now > self._asks_at:
            self._asks_at = now + _ASK_AGAIN
            self._asked_to_stop = self._study.stops > self._stops
        return self._asked_to_stop

    def _tell_start(self) -> None:
        sweep = self._study.sweep
        self._tell(
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

    def _fill(self) -> bool:
        """Start trials while there is room; returns whether there may be more to start."""
        now = time.monotonic()
        if now > self._give_up_at:
            return False
        if self._under_way and now < self._ask_again_at:
            return True
        while len(self._under_way) < (1 if self._alone else self._study.sweep.parallel):
            trial = self._study.orphan()
            if trial:
                self._take_up(trial)
                continue
            trial = self._study.ask()
            if trial is None:
                self._ask_again_at = now + _ASK_AGAIN
                return False
            self._begin(trial)
        return True

    def _begin(self, trial: optuna.Trial) -> None:
        """Make the run of a new trial; of settings that do not go together none is made."""
        sweep = self._study.sweep
        settings = settings_of(sweep, trial.params)
        try:
            config = with_settings(sweep.config, settings)
        except InputError as error:
            refused = TrialResult(trial.number, "", "failed", settings, reason=str(error))
            trial.set_user_attr(RESULT, msgspec.to_builtins(refused))
            self._study.tell(trial, TrialState.FAIL)
            self._tell(TrialFinished(refused))
            return
        folder = create(self._runs, config)
        trial.set_user_attr("run", str(folder.path))
        self._engines.start(folder)
        self._add(ActiveTrial(trial, folder, settings), resumed=False)

    def _take_up(self, trial: optuna.Trial) -> None:
        """Go on with a trial whose worker is gone: its run may train, be over, need an engine, or be out of reach."""
        run = trial.user_attrs.get("run", "")
        if not run:
            if set(trial.params) == {dimension.name for dimension in self._study.sweep.space}:
                self._begin(trial)
            else:
                self._study.tell(trial, TrialState.FAIL)
            return
        folder = RunFolder(Path(run))
        settings = settings_of(self._study.sweep, trial.params)
        one = ActiveTrial(trial, folder, settings)
        one.catch_up(self._study.epochs_of(trial))
        if not folder.config.is_file():
            self._end(one, ForkReport(), TrialState.FAIL, "its run is not on this machine any more")
        elif is_locked(folder):
            self._engines.watch(folder)
            self._add(one, resumed=True)
        elif one.finished and one.finished.status == "completed":
            self._judge(one, ForkReport(), stopping=False)
        else:
            one.finished = None
            self._engines.start(folder)
            self._add(one, resumed=True)

    def _add(self, one: ActiveTrial, *, resumed: bool) -> None:
        self._under_way.append(one)
        self._tell(TrialStarted(one.trial.number, str(one.folder.path), one.settings, resumed))

    def _look_at(self, one: ActiveTrial, stopping: bool) -> None:
        report = self._engines.ended(one.folder)
        for epoch in one.look():
            self._alone = False
            best = one.best or epoch
            self._tell(TrialEpoch(one.trial.number, epoch.epoch, one.planned, epoch.val_accuracy, best.val_accuracy))
            if one.hopeless_after(epoch) and epoch.epoch < one.planned:
                one.stop(hopeless=True)
        self._study.sign_of_life(one.trial)
        if report is not None:
            self._alone = False
            self._under_way.remove(one)
            self._judge(one, report, stopping)

    def _let_go(self, one: ActiveTrial) -> None:
        """A trial of which another worker, that took this one for gone, told what came of it; the first word counts."""
        one.stop(hopeless=False)
        if one in self._under_way:
            self._under_way.remove(one)
        status = STATUS[self._study.state_of(one.trial)]
        reason = "another worker ended it, as it had not heard of this one for long"
        result = TrialResult(one.trial.number, str(one.folder.path), status, one.settings, reason=reason)
        self._tell(TrialFinished(result))

    def _judge(self, one: ActiveTrial, report: ForkReport, stopping: bool) -> None:
        """What an engine that ended means for its trial."""
        match one.finished:
            case RunFinished(status="completed"):
                self._end(one, report, TrialState.COMPLETE)
            case RunFinished(status="stopped") if one.hopeless:
                self._end(one, report, TrialState.PRUNED)
            case RunFinished(status="stopped") if stopping:
                self._tell(TrialFinished(one.result("stopped", report.memory, "")))
            case RunFinished(status="stopped", reason=reason):
                self._end(one, report, TrialState.PRUNED if one.epochs else TrialState.FAIL, reason)
            case RunFinished(status="failed", reason=reason, exit_code=exit_code):
                self._end(one, report, TrialState.FAIL, reason)
                if exit_code == 2 and not self._study.has_result():
                    self._refused = InputError(f"trial {one.trial.number}: {reason}")
            case _ if stopping:
                self._tell(TrialFinished(one.result("stopped", report.memory, "")))
            case _ if one.lost < _MOST_LOSSES:
                one.lost += 1
                self._engines.start(one.folder)
                self._add(one, resumed=True)
            case _:
                self._end(one, report, TrialState.FAIL, f"its engine died twice; {one.folder.log} may tell why")

    def _end(self, one: ActiveTrial, report: ForkReport, state: TrialState, reason: str = "") -> None:
        result = one.result(STATUS[state], report.memory, reason)
        self._study.tell(one.trial, state, result.val_accuracy if state == TrialState.COMPLETE else None)
        self._tell(TrialFinished(result))


def _share_prefix(space: list[Dimension]) -> bool:
    """Whether all trials find in the cache what the first of them has computed, so that it had better go ahead."""
    keys = [key for one in space for key in (one.keys if isinstance(one, Choices) else (one.key,))]
    return not any(key.startswith(_WHAT_IMAGES_GO_THROUGH) for key in keys)
