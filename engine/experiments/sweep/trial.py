"""A trial of this worker, and the events of its run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec
from optuna import Trial

from engine.errors import InputError
from engine.experiments.sweep.events import Status, TrialResult
from engine.experiments.sweep.results import RESULT, SCORE
from engine.runs import commands
from engine.runs import events as p
from engine.runs.command_log import new_command_id, send
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import best_epoch


@dataclass
class ActiveTrial:
    """A trial whose run an engine trains.

    ``planned``: its epochs. ``stopping``: whether it was asked to stop. ``pruned``: whether the pruner asked.
    ``crashes``: how often its engine died.
    """

    trial: Trial
    folder: RunFolder
    settings: dict[str, Any]
    epochs: list[p.Epoch] = field(default_factory=list)
    planned: int = 0
    speeds: list[float] = field(default_factory=list)
    finished: p.RunFinished | None = None
    stopping: bool = False
    pruned: bool = False
    crashes: int = 0
    _tail: EventTail = field(init=False)

    def __post_init__(self) -> None:
        self._tail = EventTail(self.folder)

    def poll(self) -> list[p.Epoch]:
        """Read new events of the run; returns the new epochs."""
        new = []
        for event in self._tail.poll():
            match event:
                case p.RunStarted():
                    self.finished = None
                    self.planned = event.epochs
                case p.Step():
                    self.speeds.append(event.images_per_second)
                case p.Epoch():
                    new.append(event)
                case p.RunFinished():
                    self.finished = event
        self.epochs += new
        return new

    @property
    def best(self) -> p.Epoch | None:
        """The best epoch so far."""
        return best_epoch(self.epochs)

    def catch_up(self, known: list[int]) -> None:
        """Read the run's events so far, and report to the storage all epochs but the ``known`` ones."""
        for epoch in self.poll():
            if epoch.epoch not in known:
                self._store(epoch)

    def report(self, epoch: p.Epoch) -> bool:
        """Report an epoch to the storage; returns whether the pruner would stop the trial."""
        self._store(epoch)
        return self.trial.should_prune()

    def _store(self, epoch: p.Epoch) -> None:
        if self.trial.user_attrs.get(SCORE) != epoch.score:
            self.trial.set_user_attr(SCORE, epoch.score)
        if epoch.objective is not None:
            self.trial.report(epoch.objective, epoch.epoch)

    def stop(self, *, pruned: bool) -> None:
        """Ask the run to stop with a checkpoint."""
        if self.stopping:
            return
        self.stopping, self.pruned = True, pruned
        with suppress(InputError):  # the run's folder is gone, and its engine will fail
            send(self.folder, commands.Stop(id=new_command_id()))

    def result(self, status: Status, memory: int, reason: str) -> TrialResult:
        """The trial's result, which is also stored in the study."""
        best = self.best
        result = TrialResult(
            trial=self.trial.number,
            run=str(self.folder.path),
            status=status,
            settings=self.settings,
            epoch=len(self.epochs),
            epochs=self.planned,
            val_accuracy=best.val_score if best else None,
            val_loss=best.val_loss if best else None,
            seconds=self.finished.seconds if self.finished else 0.0,
            images_per_second=round(median(self.speeds), 1) if self.speeds else None,
            memory=memory,
            reason=reason,
            score=best.score if best else "accuracy",
        )
        self.trial.set_user_attr(RESULT, msgspec.to_builtins(result))
        return result
