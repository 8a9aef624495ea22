"""Trains the folds of a cross-validation one after the other, each a run with a worker process of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.config.toml_io import to_toml
from engine.errors import InputError
from engine.experiments.cross_validation.definition import CrossValidation, folder_of
from engine.experiments.cross_validation.events import (
    CrossValidationEvent,
    CrossValidationStarted,
    CrossValidationSummary,
    FoldEpoch,
    FoldFinished,
    FoldResult,
    FoldStarted,
)
from engine.experiments.cross_validation.summary import find_folds, fold_result, summarize
from engine.files.atomic import write_atomically
from engine.process.fork_server import ForkReport
from engine.process.forked_engines import ForkedEngines
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Stop
from engine.runs.event_log import EventTail
from engine.runs.events import Epoch, RunFinished
from engine.runs.exit_codes import BAD_INPUT
from engine.runs.folder import RunFolder, create
from engine.runs.lock import Lock, holder, is_locked
from engine.runs.state import RunState, fold

LOG = "engine.log"  # output of the process that starts the workers
_POLL_INTERVAL = 0.05  # seconds
_MAX_RETRIES = 1  # of a fold whose worker dies

Emit = Callable[[CrossValidationEvent], None]


def prepare(runs: Path, validation: CrossValidation) -> RunFolder:
    """Create the folder of a cross-validation, with its settings. Raises InputError."""
    folder = folder_of(runs, validation.name)
    try:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(folder.config, to_toml(validation.config).encode())
    except OSError as error:
        raise InputError(f"{folder.path}: can't be written ({error.strerror}); free disk space") from None
    return folder


def cross_validate(
    runs: Path, validation: CrossValidation, emit: Emit, wants_stop: Callable[[], bool]
) -> CrossValidationSummary:
    """Train the folds that are not completed; returns the results of all.

    Frozen features are computed in the first fold: the cache knows an image by its content, not by its split.
    Once ``wants_stop`` returns True, the running fold stops with a checkpoint. A fold that is stopped, by whoever,
    ends it; the same call continues. A fold that fails does not.
    Raises InputError where another process trains the folds, and where no fold can be trained.
    """
    folder = prepare(runs, validation)
    try:
        lock = Lock(folder)
    except InputError:
        by = holder(folder.lock)
        who = f" by {by.describe()}" if by else ""
        raise InputError(
            f"the folds of {validation.name} are being trained{who}; `tltui runs` lists them, `tltui attach last` "
            "shows the running one"
        ) from None
    engines = ForkedEngines(folder.path / LOG, parallel=1)
    try:
        found = find_folds(runs, validation.name)
        emit(CrossValidationStarted(validation.name, validation.folds, _completed(runs, validation)))
        for number in range(1, validation.folds + 1):
            known = found.get(number)
            one = _Fold(runs, validation, number, known[0] if known else None, engines, emit)
            if wants_stop() or one.train(wants_stop) == "stopped":
                break
    finally:
        engines.detach()
        lock.release()
    return summarize(runs, validation.name, validation.folds)


def _completed(runs: Path, validation: CrossValidation) -> int:
    return summarize(runs, validation.name, validation.folds).completed


class _Fold:
    """One fold while it trains."""

    def __init__(
        self,
        runs: Path,
        validation: CrossValidation,
        number: int,
        folder: RunFolder | None,
        engines: ForkedEngines,
        emit: Emit,
    ) -> None:
        """``folder``: its run, if it was started earlier."""
        self._number = number
        self._is_new = folder is None
        self._folder = folder or create(runs, *validation.fold(number))
        self._engines = engines
        self._emit = emit
        self._state = RunState()
        self._tail = EventTail(self._folder, steps=False)
        self._crashes = 0

    def train(self, wants_stop: Callable[[], bool]) -> str:
        """Train or resume the run until it ends; returns its status. Raises InputError for bad input."""
        self._poll(quiet=True)
        if self._state.status == "completed":
            return self._finish().status
        if is_locked(self._folder):
            self._engines.watch(self._folder)
        else:
            self._start()
        self._emit(FoldStarted(self._number, str(self._folder.path), resumed=not self._is_new))
        asked = False
        while True:
            report = self._engines.ended(self._folder)
            self._poll()
            if report is not None:
                if not self._retries(report):
                    return self._end().status
            elif not asked and wants_stop():
                asked = True
                with suppress(InputError):  # the run's folder is gone, and its worker will fail
                    send(self._folder, Stop(id=new_command_id()))
            time.sleep(_POLL_INTERVAL)

    def _start(self) -> None:
        self._state.finished = None
        self._engines.start(self._folder)

    def _poll(self, *, quiet: bool = False) -> None:
        for event in self._tail.poll():
            fold(self._state, event)
            if isinstance(event, Epoch) and not quiet:
                best = self._state.best or event
                planned = self._state.epochs_planned
                scores = event.val_score, best.val_score, event.score
                self._emit(FoldEpoch(self._number, event.epoch, planned, *scores))

    def _retries(self, report: ForkReport) -> bool:
        """Whether the worker died without an event and is started again."""
        if self._state.finished or self._crashes >= _MAX_RETRIES:
            return False
        self._crashes += 1
        self._start()
        return True

    def _end(self) -> FoldResult:
        match self._state.finished:
            case RunFinished(status="failed", exit_code=code, reason=reason) if code == BAD_INPUT and self._is_new:
                shutil.rmtree(self._folder.path, ignore_errors=True)
                raise InputError(reason)
            case None:
                return self._finish(f"its worker crashed twice; see {self._folder.log}")
            case _:
                return self._finish()

    def _finish(self, failure: str = "") -> FoldResult:
        result = fold_result(self._folder, self._number, self._state, failure)
        self._emit(FoldFinished(result))
        return result
