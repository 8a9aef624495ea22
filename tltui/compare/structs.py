"""A comparison of runs, as JSON gives it and the screen shows it. Runs are numbered from 1 in the order given."""

from __future__ import annotations

from typing import Any

import msgspec


class Change(msgspec.Struct):
    """A command gave a setting a ``value`` that was in force from the step after ``step``."""

    value: Any
    step: int


class Setting(msgspec.Struct):
    """A run's value of a setting: that of its run.toml, then what commands made of it."""

    value: Any
    changes: list[Change]


class Difference(msgspec.Struct):
    """A setting that is not the same in all runs; ``settings`` in the order of the runs.

    ``explains``: the share of the variance of validation accuracy that its values explain, null for few runs.
    """

    key: str
    settings: list[Setting]
    explains: float | None


class Metrics(msgspec.Struct):
    """The best checkpoint on a split, from the ``evaluated`` event. ``metrics``: all of them by name."""

    split: str
    count: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    log_loss: float | None
    metrics: dict[str, float | None]


class EpochMetrics(msgspec.Struct):
    """One point of the curves; ``val_loss`` is null where it is not finite."""

    epoch: int
    val_accuracy: float
    val_loss: float | None


class ComparedRun(msgspec.Struct):
    """A run as far as it goes; what it has not come to is null.

    ``evaluated``: on its test images, or on validation images where it has no others. ``epoch_seconds``: the sum
    over its epochs, of training and validation. ``seconds``: from the engine's start to its end, null for a run that
    was resumed, whose engines tell each its own. ``cached_bytes``: what is kept of frozen layers.
    """

    number: int
    run: str
    path: str
    status: str
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


class Test(msgspec.Struct):
    """McNemar's exact test of a run against the best one.

    ``only_this`` and ``only_best``: images that one of the two alone is right on. ``p_holm``: corrected for the
    number of runs that are tested.
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
    """All tests on the same ``count`` images against run ``best``, which has the highest validation accuracy of those
    with predictions (null: none has any)."""

    best: int | None
    count: int
    tests: list[Test]
    untested: list[Untested]


class Comparison(msgspec.Struct):
    """``best``: the run with the highest validation accuracy, null before any has one. ``order``: all runs, the best
    first, those without an epoch last. ``differing``: the setting that explains most first, else as in run.toml."""

    runs: list[ComparedRun]
    best: int | None
    order: list[int]
    differing: list[Difference]
    mcnemar: Tests
