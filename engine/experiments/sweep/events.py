"""The events of a sweep, for tables, plain lines and ``--json``. Imports neither torch nor Optuna.

Accuracies are between 0 and 1, ``seconds`` are the engine's, ``memory`` is in bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["running", "completed", "pruned", "failed", "stopped"]


class SweepEvent(msgspec.Struct, tag_field="type", tag=None):
    """A line of ``tltui sweep --json``."""


class SweepStarted(SweepEvent, tag="sweep_started"):
    """A worker has started. ``trials``: already finished, of ``wanted`` (0: no limit)."""

    sweep: str
    storage: str
    settings: list[str]
    sampler: str
    pruner: str
    trials: int
    wanted: int
    parallel: int


class TrialStarted(SweepEvent, tag="trial_started"):
    """An engine has started on the run of a trial. ``resumed``: the trial had started earlier."""

    trial: int
    run: str
    settings: dict[str, Any]
    resumed: bool


class TrialEpoch(SweepEvent, tag="trial_epoch"):
    """An epoch of a trial has finished, of ``epochs``.

    ``val_accuracy`` is the validation metric ``score``: accuracy, unless the task has another. Null: undefined.
    """

    trial: int
    epoch: int
    epochs: int
    val_accuracy: float | None
    best_val_accuracy: float | None
    score: str = "accuracy"


class TrialResult(msgspec.Struct):
    """A trial as stored, after ``epoch`` of its ``epochs``.

    ``val_accuracy``: the validation metric ``score``. ``val_loss``: of the best epoch. ``images_per_second``: median
    over steps. ``memory``: peak of the engine's process, 0 where unknown.
    """

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
    score: str = "accuracy"


class TrialFinished(SweepEvent, tag="trial_finished"):
    """A trial has finished, or was stopped and can be resumed."""

    result: TrialResult


class Bar(msgspec.Struct):
    """Validation scores of the completed trials with one choice, or in one part of a range."""

    label: str
    trials: int
    mean: float
    best: float


class Marginal(msgspec.Struct):
    """The effect of one setting, averaged over the others. ``importance``: 0 to 1, null where unknown."""

    setting: str
    importance: float | None
    bars: list[Bar]


class SweepResults(SweepEvent, tag="sweep_results"):
    """All trials of a sweep so far, of all workers. ``wanted``: as in SweepStarted.

    ``score``: the validation metric that trials are ranked by.
    """

    sweep: str
    wanted: int
    trials: list[TrialResult]
    best: TrialResult | None
    margins: list[Marginal]
    score: str = "accuracy"

    @property
    def running(self) -> int:
        """The number of running trials."""
        return sum(trial.status == "running" for trial in self.trials)

    @property
    def ended(self) -> int:
        """The number of finished trials."""
        return sum(trial.status not in ("running", "stopped") for trial in self.trials)

    @property
    def over(self) -> bool:
        """Whether all trials of the budget have finished. False for a sweep that only time limits."""
        return bool(self.wanted) and self.ended == len(self.trials) >= self.wanted


class SweepListed(msgspec.Struct):
    """A row of the list of sweeps: running and finished trials, of ``wanted`` (0: no limit).

    ``best``: the validation metric ``score`` of the best completed trial.
    """

    sweep: str
    running: int
    ended: int
    wanted: int
    best: float | None
    score: str = "accuracy"
