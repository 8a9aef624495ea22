"""Compares runs by their configs, folded events and predictions. Knows no screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.data_sources import DATA_SOURCES
from engine.config.schema import DataConfig, RunConfig
from engine.evaluation.metrics import METRICS
from engine.runs import events as p
from engine.runs.folder import data_label
from engine.runs.progress import Report, quiet
from engine.runs.run_status import RunStatus
from engine.runs.state import RunState, best_epoch
from tltui.compare.paired_tests import (
    SIGNED_RANK,
    Differences,
    NotComparable,
    Reference,
    error_of_task,
    holm,
    mcnemar,
    read_predictions,
    signed_rank,
)
from tltui.compare.settings import differences
from tltui.compare.structs import ComparedRun, Comparison, EpochMetrics, Metrics, Test, Tests, Untested


@dataclass(frozen=True)
class RunSource:
    """A run as read from its folder."""

    id: str
    path: Path
    config: RunConfig
    state: RunState
    status: RunStatus
    predictions: Path


def compare(runs: Sequence[RunSource], tests: Tests) -> Comparison:
    """The comparison of ``runs``; ``tests`` are those of ``paired_tests``."""
    numbers = range(1, len(runs) + 1)
    ranked = _by_validation(runs)
    return Comparison(
        runs=[_compared(number, run) for number, run in zip(numbers, runs, strict=True)],
        best=next(iter(ranked), None),
        order=[*ranked, *(number for number in numbers if number not in ranked)],
        differing=differences([(run.config, run.state) for run in runs]),
        mcnemar=tests,
    )


def paired_tests(runs: Sequence[RunSource], report: Report = quiet) -> Tests:
    """The paired test of each run against the best one that has predictions. Each table is read once.

    The best is selected by validation score: selection on the test images would bias the tests in its favour.
    """
    untested: dict[int, str] = {}
    for best in _by_validation(runs):
        task, evaluated = _task(runs[best - 1]), _evaluated(runs[best - 1].state)
        try:
            error_of = error_of_task(task, evaluated)
            reference = Reference(read_predictions(runs[best - 1].predictions, error_of), error_of)
        except NotComparable as reason:
            untested[best] = str(reason)
            continue
        found: dict[int, Differences] = {}
        for number, run in enumerate(runs, start=1):
            report("compare", number, len(runs), "runs")
            if number == best or number in untested:
                continue
            try:
                if _images(run.config.data) != _images(runs[best - 1].config.data):
                    raise NotComparable("was evaluated on another dataset")
                if _task(run) != task:
                    raise NotComparable("has another task")
                found[number] = reference.differences(read_predictions(run.predictions, error_of))
            except NotComparable as reason:
                untested[number] = str(reason)
        return Tests(best, len(reference), _tested(found, task), _untested(untested), _method(task))
    return Tests(None, 0, [], _untested({at: untested.get(at, "has no epoch yet") for at in range(1, len(runs) + 1)}))


def _task(run: RunSource) -> str:
    return run.state.data.task if run.state.data else "single"


def _method(task: str) -> Literal["mcnemar", "wilcoxon"]:
    return "wilcoxon" if task in SIGNED_RANK else "mcnemar"


def _tested(found: dict[int, Differences], task: str) -> list[Test]:
    values = [
        signed_rank(one.values) if task in SIGNED_RANK else mcnemar(one.only_this, one.only_other)
        for one in found.values()
    ]
    return [
        Test(number, one.only_this, one.only_other, value, corrected)
        for (number, one), value, corrected in zip(found.items(), values, holm(values), strict=True)
    ]


def _untested(reasons: dict[int, str]) -> list[Untested]:
    return [Untested(number, reason) for number, reason in sorted(reasons.items())]


def _by_validation(runs: Sequence[RunSource]) -> list[int]:
    """The numbers of the runs that have an epoch, best validation score first."""
    epochs = {number: run.state.best for number, run in enumerate(runs, start=1)}
    order = []
    while best := best_epoch(epoch for epoch in epochs.values() if epoch is not None):
        number = next(number for number, epoch in epochs.items() if epoch is best)
        order.append(number)
        del epochs[number]
    return order


def _images(data: DataConfig) -> tuple[str, str]:
    """Identifies the images: a path like cat/1.jpg may exist in any dataset."""
    source = data.resolved_source
    key = DATA_SOURCES[source].identified_by
    return source, getattr(data, key) if key else ""


def _compared(number: int, run: RunSource) -> ComparedRun:
    state, best, finished = run.state, run.state.best, run.state.finished
    return ComparedRun(
        number=number,
        run=run.id,
        path=str(run.path),
        status=run.status,
        reason=finished.reason if finished else "",
        model=run.config.model.name,
        data=data_label(run.config),
        device=state.started.device if state.started else "",
        epoch=len(state.epochs),
        epochs=state.epochs_planned or run.config.train.epochs,
        best_epoch=best.epoch if best else None,
        best_val_accuracy=best.val_accuracy if best else None,
        trainable=state.parameters.trainable if state.parameters else None,
        total=state.parameters.total if state.parameters else None,
        evaluated=_metrics(state),
        epoch_seconds=sum(epoch.seconds for epoch in state.epochs) if state.epochs else None,
        seconds=finished.seconds if finished and not state.resumed else None,
        cached_bytes=state.cached if state.model else None,
        curve=[EpochMetrics(of.epoch, of.val_accuracy, of.val_loss, of.val_score) for of in state.epochs],
        task=state.data.task if state.data else "single",
        score=best.score if best else "accuracy",
        best_val_score=best.val_score if best else None,
    )


def _evaluated(state: RunState) -> p.Evaluated | None:
    """The evaluation whose predictions the run has."""
    return state.evaluations.get("test") or state.evaluations.get("val")


def _metrics(state: RunState) -> Metrics | None:
    of = _evaluated(state)
    if of is None:
        return None
    return Metrics(
        split=of.split,
        count=of.count,
        accuracy=of.accuracy,
        accuracy_interval=of.accuracy_interval,
        balanced_accuracy=of.balanced_accuracy,
        macro_f1=of.macro_f1,
        log_loss=of.log_loss,
        metrics={name: metric.value(of) for name, metric in METRICS.items()},
        score=of.score,
    )
