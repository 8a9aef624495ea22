"""The events of a cross-validation, for tables, plain lines and ``--json``. Imports no torch.

Accuracies are between 0 and 1, ``seconds`` are the worker's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["waiting", "running", "completed", "failed", "stopped"]


class CrossValidationEvent(msgspec.Struct, tag_field="type", tag=None):
    """A line of ``tltui train CONFIG --folds K --json``."""


class CrossValidationStarted(CrossValidationEvent, tag="cross_validation_started"):
    """``completed``: folds that are completed already, of ``folds``."""

    name: str
    folds: int
    completed: int


class FoldStarted(CrossValidationEvent, tag="fold_started"):
    """A worker trains the run of a fold. ``resumed``: the run had started earlier."""

    fold: int
    run: str
    resumed: bool


class FoldEpoch(CrossValidationEvent, tag="fold_epoch"):
    """An epoch of a fold has finished, of ``epochs``. ``val_accuracy``: the validation metric ``score``."""

    fold: int
    epoch: int
    epochs: int
    val_accuracy: float | None
    best_val_accuracy: float | None
    score: str = "accuracy"


class FoldResult(msgspec.Struct):
    """A fold after ``epoch`` of its ``epochs``. ``run``: its folder, "" before it has one.

    ``best_val_accuracy``: the validation metric ``score`` in the best epoch. ``metrics``: of the best checkpoint, by
    split and name; a metric is missing where it is undefined.
    """

    fold: int
    run: str
    status: Status
    epoch: int = 0
    epochs: int = 0
    best_val_accuracy: float | None = None
    metrics: dict[str, dict[str, float]] = {}
    seconds: float = 0.0
    reason: str = ""
    score: str = "accuracy"


class FoldFinished(CrossValidationEvent, tag="fold_finished"):
    """A fold has finished, or was stopped and can be resumed."""

    result: FoldResult


class FoldMean(msgspec.Struct):
    """The mean of a metric over ``count`` folds, their standard deviation, and the 95 % t-interval of the mean.

    The interval ends at the metric's bounds, such as 0 and 1. ``deviation`` and ``interval`` are null for one fold.
    """

    mean: float
    count: int
    deviation: float | None
    interval: tuple[float, float] | None


class CrossValidationSummary(CrossValidationEvent, tag="cross_validation_summary"):
    """All folds, and the means over the completed ones by split and metric."""

    name: str
    folds: list[FoldResult]
    means: dict[str, dict[str, FoldMean]]

    @property
    def score(self) -> str:
        """The metric that the folds are judged by."""
        return next((fold.score for fold in self.folds if fold.epoch), "accuracy")

    @property
    def completed(self) -> int:
        """The number of completed folds."""
        return sum(fold.status == "completed" for fold in self.folds)
