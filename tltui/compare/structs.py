"""A comparison of runs, for JSON and the screen. Runs are numbered from 1 in the order of the arguments."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.runs.run_status import RunStatus


class Change(msgspec.Struct):
    """A command set a setting to ``value`` after ``step``."""

    value: Any
    step: int


class Setting(msgspec.Struct):
    """A run's value of a setting in run.toml, and its changes by command."""

    value: Any
    changes: list[Change]


class Difference(msgspec.Struct):
    """A setting that differs; ``settings`` in the order of the runs.

    ``explains``: the share of the variance of the validation score that it explains, null for few runs.
    """

    key: str
    settings: list[Setting]
    explains: float | None


class Metrics(msgspec.Struct):
    """The best checkpoint on a split, from the ``evaluated`` event.

    ``metrics``: all of them by name. ``score`` names the one that the task is judged by. Null: the task does not have
    it.
    """

    split: str
    count: int
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    balanced_accuracy: float | None
    macro_f1: float | None
    log_loss: float | None
    metrics: dict[str, float | None]
    score: str = "accuracy"


class EpochMetrics(msgspec.Struct):
    """One point of the curves; ``val_loss`` is null where it is not finite, ``val_accuracy`` where the task has none.

    ``val_score``: the validation metric that makes an epoch the best.
    """

    epoch: int
    val_accuracy: float | None
    val_loss: float | None
    val_score: float | None = None


class ComparedRun(msgspec.Struct):
    """A run so far; fields without a value yet are null.

    - ``evaluated``: on the test split, or on validation where there is no test split
    - ``epoch_seconds``: training and validation, summed over the epochs
    - ``seconds``: from the worker's start to its end, null for a resumed run
    - ``cached_bytes``: size of the feature cache
    - ``best_val_score``: the validation metric ``score`` in the best epoch
    """

    number: int
    run: str
    path: str
    status: RunStatus
    reason: str
    model: str
    data: str
    device: str
    epoch: int
    epochs: int
    best_epoch: int | None
    best_val_accuracy: float | None
    trainable: int | None
    total: int | None
    evaluated: Metrics | None
    epoch_seconds: float | None
    seconds: float | None
    cached_bytes: int | None
    curve: list[EpochMetrics]
    task: str = "single"
    score: str = "accuracy"
    best_val_score: float | None = None


class Test(msgspec.Struct):
    """The paired test of a run against the best one.

    ``only_this`` and ``only_best``: images that only one of the two classifies correctly; of ranks and numbers, images
    on which its error is smaller. ``p_holm``: Holm-corrected
    for the number of tests.
    """

    run: int
    only_this: int
    only_best: int
    p: float
    p_holm: float


class Untested(msgspec.Struct):
    """A run that can't be tested, and why."""

    run: int
    reason: str


class Tests(msgspec.Struct):
    """All tests, on the same ``count`` images, against run ``best``: the best validation score among runs with
    predictions, null where none has any. ``method``: "mcnemar" (exact), or "wilcoxon" (signed-rank, of the errors) for
    ranks and numbers."""

    best: int | None
    count: int
    tests: list[Test]
    untested: list[Untested]
    method: Literal["mcnemar", "wilcoxon"] = "mcnemar"


class Comparison(msgspec.Struct):
    """``best``: the run with the best validation score, null before any has one. ``order``: all runs, the best
    first, those without an epoch last. ``differing``: the setting that explains most first, else as in run.toml.
    ``mcnemar``: the paired tests, whatever their method."""

    runs: list[ComparedRun]
    best: int | None
    order: list[int]
    differing: list[Difference]
    mcnemar: Tests
