"""What a sweep tells while it goes on: facts, for tables, plain lines and ``--json``. Imports neither torch nor Optuna.

Accuracies are shares of 1, ``seconds`` are those of the engine, ``memory`` is in bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["running", "completed", "pruned", "failed", "stopped"]


class SweepEvent(msgspec.Struct, tag_field="type", tag=None):
    """A line of ``tltui sweep --json``."""


class SweepStarted(SweepEvent, tag="sweep_started"):
    """``trials`` that had come to their end already, of so many ``wanted``, 0 for no limit."""

    sweep: str
    storage: str
    settings: list[str]
    sampler: str
    pruner: str
    trials: int
    wanted: int
    parallel: int


class TrialStarted(SweepEvent, tag="trial_started"):
    """An engine works on the run of a trial; ``resumed``: it was begun earlier."""

    trial: int
    run: str
    settings: dict[str, Any]
    resumed: bool


class TrialEpoch(SweepEvent, tag="trial_epoch"):
    """An epoch of a trial, of so many ``epochs``."""

    trial: int
    epoch: int
    epochs: int
    val_accuracy: float
    best_val_accuracy: float


class TrialResult(msgspec.Struct):
    """A trial as the storage has it, after ``epoch`` of its ``epochs``. ``val_loss`` is that of the best epoch;
    ``images_per_second`` is the median of the steps; ``memory`` is the most that the engine's process took, 0 where
    nobody saw."""

    trial: int
    run: str
    status: Status
    settings: dict[str, Any]
    epoch: int = 0
    epochs: int = 0
    val_accuracy: float | None = None
    val_loss: float | None = None
    seconds: float = 0.0
    images_per_second: float | None = None
    memory: int = 0
    reason: str = ""


class TrialFinished(SweepEvent, tag="trial_finished"):
    """A trial came to its end, or was stopped and can go on."""

    result: TrialResult


class Bar(msgspec.Struct):
    """The completed trials with one choice, or within a part of a range."""

    label: str
    trials: int
    mean: float
    best: float


class Marginal(msgspec.Struct):
    """What one setting does, whatever the others are: its ``importance`` is a share of 1, null if it can't be told."""

    setting: str
    importance: float | None
    bars: list[Bar]


class SweepResults(SweepEvent, tag="sweep_results"):
    """All trials of a sweep as they are now, by whichever worker; ``wanted`` as in SweepStarted."""

    sweep: str
    wanted: int
    trials: list[TrialResult]
    best: TrialResult | None
    margins: list[Marginal]

    @property
    def running(self) -> int:
        """Trials that are at work."""
        return sum(trial.status == "running" for trial in self.trials)

    @property
    def ended(self) -> int:
        """Trials that came to their end."""
        return sum(trial.status not in ("running", "stopped") for trial in self.trials)

    @property
    def over(self) -> bool:
        """Whether every trial that is wanted came to its end. Of a sweep that time alone limits nobody can tell."""
        return bool(self.wanted) and self.ended == len(self.trials) >= self.wanted


class SweepListed(msgspec.Struct):
    """A sweep of a storage in short: trials that are at work and that ended, of so many ``wanted``, 0 for no limit.

    ``best`` is the validation accuracy of the best trial that was completed.
    """

    sweep: str
    running: int
    ended: int
    wanted: int
    best: float | None
