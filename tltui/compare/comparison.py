"""Runs side by side, from their configs, their folded events and their predictions. Knows no screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.data_sources import DATA_SOURCES
from engine.config.schema import DataConfig, RunConfig
from engine.evaluation.metrics import METRICS
from engine.runs import events as p
from engine.runs.folder import data_label
from engine.runs.progress import Report, quiet
from engine.runs.state import RunState, best_epoch
from tltui.compare.mcnemar import Discordant, NotComparable, Reference, holm, p_value, read_predictions
from tltui.compare.settings import differences
from tltui.compare.structs import ComparedRun, Comparison, EpochMetrics, Metrics, Test, Tests, Untested


@dataclass(frozen=True)
class RunSource:
    """What a run's folder tells: its id and path, settings, events, and whether its engine lives."""

    run: str
    path: Path
    config: RunConfig
    state: RunState
    status: str
    predictions: Path


def compare(runs: Sequence[RunSource], tests: Tests) -> Comparison:
    """Everything that is compared; ``tests`` as ``mcnemar_tests`` gives them."""
    numbers = range(1, len(runs) + 1)
    ranked = _by_validation(runs)
    return Comparison(
        runs=[_compared(number, told) for number, told in zip(numbers, runs, strict=True)],
        best=next(iter(ranked), None),
        order=[*ranked, *(number for number in numbers if number not in ranked)],
        differing=differences([(told.config, told.state) for told in runs]),
        mcnemar=tests,
    )


def mcnemar_tests(runs: Sequence[RunSource], report: Report = quiet) -> Tests:
    """McNemar's test of each run against the best one that has predictions. Each one's are read once.

    The best is chosen by validation accuracy: chosen by the images it is then tested on, it would look better than
    it is.
    """
    untested: dict[int, str] = {}
    for best in _by_validation(runs):
        try:
            reference = Reference(read_predictions(runs[best - 1].predictions))
        except NotComparable as reason:
            untested[best] = str(reason)
            continue
        discordant: dict[int, Discordant] = {}
        for number, told in enumerate(runs, start=1):
            report("compare", number, len(runs), "runs")
            if number == best or number in untested:
                continue
            try:
                if _images(told.config.data) != _images(runs[best - 1].config.data):
                    raise NotComparable("was evaluated on other data")
                discordant[number] = reference.discordant(read_predictions(told.predictions))
            except NotComparable as reason:
                untested[number] = str(reason)
        return Tests(best, len(reference), _tested(discordant), _untested(untested))
    return Tests(None, 0, [], _untested({at: untested.get(at, "has no epoch yet") for at in range(1, len(runs) + 1)}))


def _tested(discordant: dict[int, Discordant]) -> list[Test]:
    values = [p_value(pair) for pair in discordant.values()]
    return [
        Test(number, pair.only_this, pair.only_other, value, corrected)
        for (number, pair), value, corrected in zip(discordant.items(), values, holm(values), strict=True)
    ]


def _untested(reasons: dict[int, str]) -> list[Untested]:
    return [Untested(number, reason) for number, reason in sorted(reasons.items())]


def _by_validation(runs: Sequence[RunSource]) -> list[int]:
    """The numbers of the runs that have an epoch, the best first."""
    epochs = {number: told.state.best for number, told in enumerate(runs, start=1)}
    order = []
    while best := best_epoch(epoch for epoch in epochs.values() if epoch is not None):
        number = next(number for number, epoch in epochs.items() if epoch is best)
        order.append(number)
        del epochs[number]
    return order


def _images(data: DataConfig) -> tuple[str, str]:
    """Where images come from: names like cat/1.jpg may be in any folder, and be others there."""
    key = DATA_SOURCES[data.source].identified_by
    return data.source, getattr(data, key) if key else ""


def _compared(number: int, told: RunSource) -> ComparedRun:
    state, best, finished = told.state, told.state.best, told.state.finished
    return ComparedRun(
        number=number,
        run=told.run,
        path=str(told.path),
        status=told.status,
        reason=finished.reason if finished else "",
        model=told.config.model.name,
        data=data_label(told.config),
        device=state.started.device if state.started else "",
        epoch=len(state.epochs),
        epochs=state.epochs_planned or told.config.train.epochs,
        best_epoch=best.epoch if best else None,
        best_val_accuracy=best.val_accuracy if best else None,
        trainable=state.parameters.trainable if state.parameters else None,
        total=state.parameters.total if state.parameters else None,
        evaluated=_figures(state),
        epoch_seconds=sum(epoch.seconds for epoch in state.epochs) if state.epochs else None,
        seconds=finished.seconds if finished and not state.resumed else None,
        cached_bytes=state.cached if state.model else None,
        curve=[EpochMetrics(epoch.epoch, epoch.val_accuracy, epoch.val_loss) for epoch in state.epochs],
    )


def _figures(state: RunState) -> Metrics | None:
    of: p.Evaluated | None = state.evaluations.get("test") or state.evaluations.get("val")
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
    )
