"""The state of a run, folded from its events: all that an interface shows. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from engine.config.schema import PHASE_SETTINGS, RunConfig
from engine.config.tasks import LOSS, TASKS, TaskSpec
from engine.config.toml_io import with_setting
from engine.errors import InputError
from engine.runs import commands as run_commands
from engine.runs import events as p
from engine.runs.json_floats import decode_float
from engine.runs.run_status import RunStatus
from engine.runs.step_history import Steps

_BLOCK = 4096  # events that are folded together


@dataclass(frozen=True, slots=True)
class StageChanges:
    """The relative change since the start of the weights of each trainable stage, after ``step``."""

    step: int
    stages: dict[str, float]


@dataclass
class RunState:
    """The state of a run after the events so far.

    The run's lock, not ``status``, says whether a worker is alive.
    """

    status: RunStatus = RunStatus.STARTING
    seq: int = 0
    time: float = 0.0
    started: p.RunStarted | None = None
    data: p.DataReady | None = None
    model: p.ModelReady | None = None
    resumed: p.Resumed | None = None
    parameters: p.ParameterCounts | None = None
    rules: list[str] = field(default_factory=list)
    boundary: str | None = None
    cached: int = 0
    epochs_planned: int = 0
    phases: list[p.Phase] = field(default_factory=list)
    progress: p.Progress | None = None
    steps: Steps = field(default_factory=Steps)
    layers: p.Layers | None = None
    changes: list[StageChanges] = field(default_factory=list)
    epochs: list[p.Epoch] = field(default_factory=list)
    forgetting: list[p.Forgetting] = field(default_factory=list)
    checkpoints: dict[str, p.Checkpoint] = field(default_factory=dict)
    evaluations: dict[str, p.Evaluated] = field(default_factory=dict)
    baselines: list[p.Baseline] = field(default_factory=list)
    warnings: list[p.Warning] = field(default_factory=list)
    answers: dict[str, p.CommandApplied | p.CommandRejected] = field(default_factory=dict)
    finished: p.RunFinished | None = None

    @property
    def best(self) -> p.Epoch | None:
        """The best epoch so far."""
        return best_epoch(self.epochs)

    @property
    def curve(self) -> str:
        """The metric that the run computes for training and for validation images."""
        task = self.data.task if self.data else "single"
        return TASKS[task].curve if task in TASKS else "accuracy"


def task_spec(data: p.DataReady, evaluations: Mapping[str, p.Evaluated] | None = None) -> TaskSpec:
    """The task of a run, with the thresholds that were chosen on its validation images, if any."""
    val = (evaluations or {}).get("val")
    thresholds = [of.threshold for of in val.per_class if of.threshold is not None] if val else []
    return TaskSpec(data.task, data.classes, data.target_mean, data.target_std, thresholds)


def best_epoch(epochs: Iterable[p.Epoch]) -> p.Epoch | None:
    """The epoch with the best validation score, then the lowest validation loss."""
    known = list(epochs)
    score = common_score(known)

    def rank(epoch: p.Epoch) -> tuple[float, float]:
        value = epoch.val_objective(score)
        return -math.inf if value is None else value, -decode_float(epoch.val_loss, None)

    return max(known, key=rank, default=None)


def common_score(epochs: Iterable[p.Epoch]) -> str:
    """The validation metric by which epochs, also of different runs, are ranked.

    It is their score; of different scores, accuracy where all epochs have it, else the loss.
    """
    known = list(epochs)
    scores = {epoch.score for epoch in known}
    if len(scores) == 1:
        return scores.pop()
    return LOSS if any(epoch.val_accuracy is None for epoch in known) else "accuracy"


def fold(state: RunState, event: p.AnyEvent) -> RunState:
    """Apply ``event`` to ``state`` in place and return it.

    It does no I/O and reads no clock, so that the same events always give the same state. Copying the history for each
    of a million events would take quadratic time.
    """
    state.seq, state.time = event.seq, event.time
    _FOLDS[type(event)](state, event)
    return state


def fold_all(events: Iterable[p.AnyEvent], state: RunState | None = None) -> RunState:
    """Apply many events, by default to a new state."""
    state = RunState() if state is None else state
    coming = iter(events)
    while block := list(islice(coming, _BLOCK)):
        for kind, alike in [(p.Step, block)] if set(map(type, block)) == {p.Step} else groupby(block, type):
            if kind is p.Step:
                _fold_steps(state, list(alike))
            else:
                for event in alike:
                    fold(state, event)
    return state


def _fold_steps(state: RunState, steps: list[Any]) -> None:
    """Apply many steps like ``fold``, in less time."""
    state.steps.extend(steps)
    state.seq, state.time, state.progress = steps[-1].seq, steps[-1].time, None


def in_force(config: RunConfig, state: RunState) -> RunConfig:
    """The run's current settings: run.toml with the changes of phases and commands."""
    return _with_changes(config, changes_of_settings(state))


def chosen_settings(config: RunConfig, state: RunState) -> RunConfig:
    """The settings for a new run like this one: run.toml with the lasting changes of commands.

    Learning rates and freeze rules of a phase end with it; so do those that a command sets during it.
    """
    commands = commands_that_set(state)
    temporary = set(PHASE_SETTINGS.values()) if config.recipe.phases or state.phases else set()
    return _with_changes(config, [event for event in commands if temporary.isdisjoint(settings_of(event))])


def _with_changes(config: RunConfig, changes: Iterable[p.Phase | p.CommandApplied]) -> RunConfig:
    for event in changes:
        for key, value in settings_of(event).items():
            try:
                config = with_setting(config, key, value)
            except InputError:  # the log is of another version
                continue
    return config


def changes_of_settings(state: RunState) -> list[p.Phase | p.CommandApplied]:
    """The phases and the commands that changed a setting, in the order in which they took effect."""
    # A phase begins before commands are applied.
    return sorted((*state.phases, *commands_that_set(state)), key=lambda event: event.step)


def commands_that_set(state: RunState) -> list[p.CommandApplied]:
    """The commands that changed a setting, in the order in which they took effect."""
    applied = [answer for answer in state.answers.values() if isinstance(answer, p.CommandApplied)]
    return sorted((one for one in applied if isinstance(one.command, run_commands.Set)), key=lambda event: event.step)


def settings_of(event: p.Phase | p.CommandApplied) -> dict[str, Any]:
    """The settings that a phase or a command changes, by key."""
    if isinstance(event, p.Phase):
        return {key: getattr(event, name) for name, key in PHASE_SETTINGS.items()}
    return {event.command.key: event.command.value} if isinstance(event.command, run_commands.Set) else {}


def _run_started(state: RunState, event: p.RunStarted) -> None:
    state.started = event
    state.finished = None
    state.epochs_planned = event.epochs
    state.status = RunStatus.PREPARING


def _progress(state: RunState, event: p.Progress) -> None:
    state.progress = event
    if event.activity == "evaluate":
        state.status = RunStatus.EVALUATING


def _data_ready(state: RunState, event: p.DataReady) -> None:
    state.data = event
    state.progress = None


def _model_ready(state: RunState, event: p.ModelReady) -> None:
    state.model = event
    state.parameters = event.parameters
    state.rules = event.rules
    state.boundary, state.cached = event.boundary, event.cached
    state.progress = None
    state.status = RunStatus.TRAINING


def _resumed(state: RunState, event: p.Resumed) -> None:
    state.resumed = event
    state.progress = None
    state.status = RunStatus.TRAINING


def _phase(state: RunState, event: p.Phase) -> None:
    state.phases.append(event)
    state.rules, state.parameters = event.rules, event.parameters


def _boundary(state: RunState, event: p.Boundary) -> None:
    state.boundary, state.cached = event.boundary, event.cached


def _step(state: RunState, event: p.Step) -> None:
    state.steps.append(event)
    state.progress = None


def _layers(state: RunState, event: p.Layers) -> None:
    state.layers = event  # only the latest in full, because each holds norms of hundreds of layers
    state.changes.append(StageChanges(event.step, event.stages))


def _epoch(state: RunState, event: p.Epoch) -> None:
    state.epochs.append(event)
    state.progress = None


def _forgetting(state: RunState, event: p.Forgetting) -> None:
    state.forgetting.append(event)


def _command_applied(state: RunState, event: p.CommandApplied) -> None:
    state.answers[event.command.id] = event
    state.parameters = event.parameters or state.parameters
    match event.command:
        case run_commands.Pause():
            state.status = RunStatus.PAUSED
        case run_commands.Resume():
            state.status = RunStatus.TRAINING
        case run_commands.Set(key="freeze.rules"):
            rules = rules_set(event)
            state.rules = state.rules if rules is None else rules
        case run_commands.Set(key="train.epochs", value=int(epochs)):
            state.epochs_planned = epochs


def rules_set(event: p.CommandApplied) -> list[str] | None:
    """The freeze rules that a command applied; None for another command."""
    match event.command:
        case run_commands.Set(key="freeze.rules", value=list(rules)) if all(isinstance(rule, str) for rule in rules):
            return rules
    return None


def _command_rejected(state: RunState, event: p.CommandRejected) -> None:
    if not isinstance(event.command, str):
        state.answers[event.command.id] = event


def _checkpoint(state: RunState, event: p.Checkpoint) -> None:
    state.checkpoints["last"] = event
    if event.best:
        state.checkpoints["best"] = event


def _warning(state: RunState, event: p.Warning) -> None:
    state.warnings.append(event)


def _evaluated(state: RunState, event: p.Evaluated) -> None:
    state.evaluations[event.split] = event
    state.progress = None


def _baseline(state: RunState, event: p.Baseline) -> None:
    others = [one for one in state.baselines if (one.name, one.split) != (event.name, event.split)]
    state.baselines = [*others, event]


def _run_finished(state: RunState, event: p.RunFinished) -> None:
    state.finished = event
    state.status = RunStatus(event.status)
    state.progress = None


_FOLDS: dict[type, Callable[[RunState, p.AnyEvent], None]] = {
    p.RunStarted: _run_started,
    p.Progress: _progress,
    p.DataReady: _data_ready,
    p.ModelReady: _model_ready,
    p.Resumed: _resumed,
    p.Phase: _phase,
    p.Boundary: _boundary,
    p.Step: _step,
    p.Layers: _layers,
    p.Epoch: _epoch,
    p.Forgetting: _forgetting,
    p.CommandApplied: _command_applied,
    p.CommandRejected: _command_rejected,
    p.Checkpoint: _checkpoint,
    p.Warning: _warning,
    p.Evaluated: _evaluated,
    p.Baseline: _baseline,
    p.RunFinished: _run_finished,
}  # type: ignore[dict-item]
