"""The results of a sweep: its trials, the best one, and the effect of each setting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from statistics import mean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from engine.config.tasks import objective
from engine.experiments.sweep.definition import Sweep
from engine.experiments.sweep.events import Bar, Marginal, Status, SweepListed, SweepResults, TrialResult
from engine.experiments.sweep.search_space import Choices, Dimension, Range
from engine.experiments.sweep.study import Study, has_live_worker

RESULT = "result"  # the attribute of a trial with its TrialResult
SCORE = "score"  # the attribute with the name of the metric that it is ranked by; Optuna maximizes its ``objective``
_PARTS = 5  # of a range, in the effect of a setting
STATUS: dict[TrialState, Status] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def settings_of(sweep: Sweep, parameters: dict[str, Any]) -> dict[str, Any]:
    """Convert Optuna's parameters to settings by ``section.key``."""
    found: dict[str, Any] = {}
    for dimension in sweep.space:
        if dimension.name in parameters:
            found |= dimension.settings(parameters[dimension.name])
    return found


def epochs_of(sweep: Sweep, settings: dict[str, Any]) -> int:
    """The number of epochs of a trial with these settings."""
    return settings.get("train.epochs", sweep.base["train"]["epochs"])


def summarize(study: Study) -> SweepListed:
    """Summarize a sweep for the list of sweeps."""
    found = results(study)
    best = found.best and found.best.val_accuracy
    return SweepListed(found.sweep, found.running, found.ended, found.wanted, best, found.score)


def results(study: Study) -> SweepResults:
    """Compute the results of a sweep so far."""
    trials = study.trials
    known = [_result(study.sweep, trial) for trial in trials]
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    importance = study.importance()
    margins = [_margin(dimension, completed, importance.get(dimension.name)) for dimension in study.sweep.space]
    return SweepResults(
        sweep=study.sweep.name,
        wanted=study.sweep.wanted,
        trials=known,
        best=best_of(known),
        margins=sorted(margins, key=lambda margin: -(margin.importance or 0)),
        score=known[0].score if known else "accuracy",
    )


def best_of(trials: Iterable[TrialResult]) -> TrialResult | None:
    """The completed trial with the best validation score; lower loss breaks ties."""
    completed = [trial for trial in trials if trial.status == "completed" and trial.val_accuracy is not None]
    return max(completed, key=_score, default=None)


def _score(trial: TrialResult) -> tuple[float, float]:
    return -math.inf if trial.val_accuracy is None else objective(trial.score, trial.val_accuracy), -(
        math.inf if trial.val_loss is None else trial.val_loss
    )


def _result(sweep: Sweep, trial: FrozenTrial) -> TrialResult:
    seen = trial.user_attrs.get(RESULT, {})
    epochs = trial.intermediate_values
    score = _score_name(trial)
    settings = settings_of(sweep, trial.params)
    return TrialResult(
        trial=trial.number,
        run=trial.user_attrs.get("run", ""),
        status=STATUS.get(trial.state, "running" if has_live_worker(trial) else "stopped"),
        settings=settings,
        epoch=max(epochs, default=0),
        epochs=epochs_of(sweep, settings),
        val_accuracy=seen.get("val_accuracy", objective(score, max(epochs.values())) if epochs else None),
        val_loss=seen.get("val_loss"),
        seconds=seen.get("seconds", 0.0),
        images_per_second=seen.get("images_per_second"),
        memory=seen.get("memory", 0),
        reason=seen.get("reason", ""),
        score=score,
    )


def _score_name(trial: FrozenTrial) -> str:
    return trial.user_attrs.get(RESULT, {}).get("score") or trial.user_attrs.get(SCORE, "accuracy")


def _margin(dimension: Dimension, trials: list[FrozenTrial], importance: float | None) -> Marginal:
    labels = dimension.labels if isinstance(dimension, Choices) else _parts(dimension)
    values: dict[str, list[float]] = {label: [] for label in labels}
    for trial in trials:
        at = trial.params[dimension.name]
        label = at if isinstance(dimension, Choices) else labels[_part(dimension, at)]
        values[label].append(trial.values[0])
    score = _score_name(trials[0]) if trials else ""
    bars = [
        Bar(label, len(found), objective(score, mean(found)), objective(score, max(found)))
        for label, found in values.items()
        if found
    ]
    return Marginal(dimension.name, importance, bars)


def _part(dimension: Range, value: float) -> int:
    low, high, at = (math.log(x) if dimension.log else x for x in (dimension.low, dimension.high, value))
    return min(int((at - low) / (high - low) * _PARTS), _PARTS - 1)


def _parts(dimension: Range) -> list[str]:
    low, high = (math.log(x) if dimension.log else x for x in (dimension.low, dimension.high))
    edges = [low + (high - low) * part / _PARTS for part in range(_PARTS + 1)]
    ends = [f"{math.exp(edge) if dimension.log else edge:.2g}" for edge in edges]
    return [f"{start} … {end}" for start, end in itertools.pairwise(ends)]
