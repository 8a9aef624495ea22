"""The results of a cross-validation, from the folders of its runs: each fold's, and their means. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from engine.evaluation.metrics import METRICS
from engine.experiments.cross_validation.events import (
    CrossValidationSummary,
    FoldMean,
    FoldResult,
    Status,
)
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.lock import is_locked
from engine.runs.run_group import RunGroup, read_group
from engine.runs.state import RunState, fold_all

_CONFIDENCE = 0.95


def find_folds(runs: Path, name: str) -> dict[int, tuple[RunFolder, RunGroup]]:
    """The runs of a cross-validation by fold; of several runs of one fold the newest."""
    found: list[tuple[float, RunFolder, RunGroup]] = []
    for path in runs.iterdir() if runs.is_dir() else ():
        folder = RunFolder(path)
        group = read_group(folder.group)
        if group is not None and group.name == name and folder.config.is_file():
            found.append((folder.config.stat().st_mtime, folder, group))
    return {group.fold: (folder, group) for _, folder, group in sorted(found, key=lambda one: one[0])}


def read_state(folder: RunFolder) -> RunState:
    """A run's state without its steps."""
    return fold_all(EventTail(folder, steps=False).poll())


def summarize(runs: Path, name: str, folds: int = 0) -> CrossValidationSummary:
    """The results so far. ``folds``: their number, where no run may be there that says so."""
    found = find_folds(runs, name)
    count = max([folds, *(group.folds for _, group in found.values())])
    results = [
        fold_result(found[fold][0], fold, read_state(found[fold][0])) if fold in found else _waiting(fold)
        for fold in range(1, count + 1)
    ]
    return CrossValidationSummary(name, results, means(results))


def fold_result(folder: RunFolder, fold: int, state: RunState, failure: str = "") -> FoldResult:
    """The result of a fold. ``failure``: why its worker ended without an event."""
    finished = state.finished
    status: Status = finished.status if finished else "running" if is_locked(folder) else "stopped"
    return FoldResult(
        fold=fold,
        run=str(folder.path),
        status="failed" if failure else status,
        epoch=len(state.epochs),
        epochs=state.epochs_planned,
        best_val_accuracy=state.best.val_score if state.best else None,
        metrics={
            split: {name: value for name, metric in METRICS.items() if (value := metric.value(evaluated)) is not None}
            for split, evaluated in state.evaluations.items()
        },
        seconds=finished.seconds if finished else 0.0,
        reason=failure or (finished.reason if finished and status == "failed" else ""),
        score=state.best.score if state.best else "accuracy",
    )


def means(results: Sequence[FoldResult]) -> dict[str, dict[str, FoldMean]]:
    """The mean of each metric over the completed folds, by split."""
    completed = [result.metrics for result in results if result.status == "completed"]
    values: dict[str, dict[str, list[float]]] = {}
    for metrics in completed:
        for split, of_split in metrics.items():
            for name, value in of_split.items():
                values.setdefault(split, {}).setdefault(name, []).append(value)
    return {
        split: {name: mean_of(found, METRICS[name].bounds) for name, found in named.items()}
        for split, named in values.items()
    }


def mean_of(values: Sequence[float], bounds: tuple[float, float]) -> FoldMean:
    """The mean over folds with Student's t-interval, which takes the folds as independent.

    They share training images, so that the interval is rather too narrow (Bengio and Grandvalet 2004). It
    ends at ``bounds``, the range of the metric, which Student's t does not know.
    """
    mean = fmean(values)
    if len(values) < 2:
        return FoldMean(mean, len(values), None, None)
    from scipy.special import stdtrit

    deviation = stdev(values)
    margin = float(stdtrit(len(values) - 1, (1 + _CONFIDENCE) / 2)) * deviation / math.sqrt(len(values))
    return FoldMean(mean, len(values), deviation, (max(mean - margin, bounds[0]), min(mean + margin, bounds[1])))


def _waiting(fold: int) -> FoldResult:
    return FoldResult(fold, "", "waiting")
