"""A sweep's trials in an Optuna storage, which any number of processes share.

A trial's worker is an attribute that one process replaces atomically, not Optuna's heartbeat: RetryFailedTrialCallback
fails a stale trial and enqueues a copy, while its run may still train, so the copy would train it twice. A process
killed between the two steps loses the trial, and on SQLite two workers can take the same copy.
"""

from __future__ import annotations

import time
import warnings
from itertools import islice
from typing import Any

import msgspec
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError

from engine.errors import InputError
from engine.experiments.sweep import samplers
from engine.experiments.sweep.definition import Sweep
from engine.experiments.sweep.samplers import GRID, PRUNERS, SAMPLERS
from engine.experiments.sweep.search_space import Choices, Dimension, shuffled_grid
from engine.experiments.sweep.storage import connect, replace_attribute, storage_errors, without_password
from engine.runs.lock import Holder, lives_here, this_process

_DEFINITION = "tltui"
_WORKER, _SEEN, _SURPLUS, _STOPS = "worker", "seen", "surplus", "stops"
_NOBODY = ""  # in place of a worker that has released its trial
_HEARTBEAT = 60.0  # seconds between heartbeats of a worker
_TIMEOUT = 300.0  # seconds after which a silent worker on another machine counts as gone


class Study:
    """The trials of one sweep. Any method may raise the errors that ``storage_errors`` translates."""

    def __init__(self, sweep: Sweep, study: optuna.Study, storage: RDBStorage, url: str) -> None:
        self.sweep = sweep
        self._url = url
        self._study = study
        self._storage = storage
        self._me = msgspec.json.encode(this_process()).decode()
        self._heartbeats: dict[int, float] = {}

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials within the budget, by number."""
        found = self._study.get_trials(deepcopy=False)
        return [trial for trial in found if _SURPLUS not in trial.user_attrs and trial.state != TrialState.WAITING]

    @property
    def storage(self) -> str:
        """The storage's URL, without a password."""
        return without_password(self._url)

    def has_result(self) -> bool:
        """Whether any trial is complete."""
        return bool(self._study.get_trials(states=(TrialState.COMPLETE,), deepcopy=False))

    @property
    def stops(self) -> int:
        """How many times all workers of the sweep have been asked to stop."""
        return self._study.user_attrs.get(_STOPS, 0)

    def ask_to_stop(self) -> None:
        """Ask all workers of the sweep, on any machine, to stop gracefully."""
        self._study.set_user_attr(_STOPS, self.stops + 1)

    def epochs_of(self, trial: optuna.Trial) -> list[int]:
        """The epochs of a trial in the storage."""
        return list(self._stored(trial).intermediate_values)

    def state_of(self, trial: optuna.Trial) -> TrialState:
        """The state of a trial in the storage."""
        return self._stored(trial).state

    def ask(self) -> optuna.Trial | None:
        """Create the next trial with sampled settings; None once the budget is used."""
        while self._wants_more():
            trial = self._ask()
            if trial is None:
                continue
            if not self._is_surplus(trial):
                return trial
            trial.set_user_attr(_SURPLUS, True)
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def adopt_orphan(self) -> optuna.Trial | None:
        """Take over a trial whose worker is gone; None if there is none."""
        for found in self._study.get_trials(states=(TrialState.RUNNING,), deepcopy=False):
            before = found.user_attrs.get(_WORKER)
            if not has_live_worker(found) and replace_attribute(
                self._storage, found._trial_id, _WORKER, before, self._me
            ):
                trial = optuna.Trial(self._study, found._trial_id)  # the public API only creates new trials
                self._heartbeats[trial.number] = 0.0
                self.heartbeat(trial)
                return trial
        return None

    def heartbeat(self, trial: optuna.Trial) -> None:
        """Record that this process still runs a trial, at most once a minute."""
        if time.monotonic() - self._heartbeats[trial.number] > _HEARTBEAT or not self._heartbeats[trial.number]:
            self._heartbeats[trial.number] = time.monotonic()
            trial.set_user_attr(_SEEN, time.time())

    def release(self, trial: optuna.Trial) -> None:
        """Leave a trial that was stopped to whichever worker resumes it."""
        trial.set_user_attr(_WORKER, _NOBODY)

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        """Record a trial's final state. The first record counts."""
        self._study.tell(trial, value, state=state, skip_if_finished=True)

    def importance(self) -> dict[str, float]:
        """Importance of each setting for being among the best trials, summing to 1; empty with too few trials.

        PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255).
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        if len(self.sweep.space) == 1:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError):  # fewer than two trials, or all with the same value
            return {}

    def _ask(self) -> optuna.Trial | None:
        """Create or take a trial; None where another worker took the same waiting trial at the same time.

        Optuna gives out a waiting trial once only where the database locks rows. SQLite does not.
        """
        try:
            trial = self._study.ask(_distributions(self.sweep.space))
        except (UpdateFinishedTrialError, IntegrityError):
            return None
        if not replace_attribute(self._storage, trial._trial_id, _WORKER, None, self._me):
            return None
        self._heartbeats[trial.number] = 0.0
        self.heartbeat(trial)
        return trial

    def _stored(self, trial: optuna.Trial) -> FrozenTrial:
        return next(one for one in self._study.get_trials(deepcopy=False) if one.number == trial.number)

    def _wants_more(self) -> bool:
        if self.sweep.sampler == GRID:
            return bool(self._study.get_trials(states=(TrialState.WAITING,), deepcopy=False))
        return not self.sweep.trials or len(self.trials) < self.sweep.trials

    def _is_surplus(self, trial: optuna.Trial) -> bool:
        """Whether the trial exceeds the budget, or repeats a combination of the grid, due to a concurrent worker."""
        if self.sweep.sampler == GRID:
            combinations = [_combination(one) for one in self._study.get_trials(deepcopy=False)[: trial.number + 1]]
            return not combinations[-1] or combinations[-1] in combinations[:-1]
        before = [other for other in self.trials if other.number < trial.number]
        return bool(self.sweep.trials) and len(before) >= self.sweep.trials


def open_study(sweep: Sweep, url: str) -> Study:
    """Open the study of ``sweep`` in a storage, creating it if needed. Raises InputError."""
    with storage_errors(url):
        return _open(sweep, connect(url), url)


def find_study(url: str, name: str) -> Study:
    """Find a study by its name or a unique prefix; "" finds the only one. Raises InputError."""
    with storage_errors(url):
        return _find(connect(url), name, url)


def all_studies(url: str) -> list[Study]:
    """All sweeps of a storage, by name. Raises InputError."""
    with storage_errors(url):
        storage = connect(url)
        names = sorted(optuna.get_all_study_names(storage))
        return [study for name in names if (study := _load(storage, name, url)) is not None]


def _open(sweep: Sweep, storage: RDBStorage, url: str) -> Study:
    samplers.find("sampler", sweep.sampler, SAMPLERS)  # before the study is created
    pruner = _pruner(sweep)
    try:
        optuna.create_study(study_name=sweep.name, storage=storage, direction="maximize")
        new = True
    except DuplicatedStudyError:  # another worker created it at the same time
        new = False
    study = optuna.load_study(study_name=sweep.name, storage=storage, sampler=_sampler(sweep, new), pruner=pruner)
    study.set_user_attr(_DEFINITION, msgspec.json.encode(sweep).decode())
    if sweep.sampler == GRID:
        _enqueue_grid(study, sweep)
    elif new and (point := _base_point(sweep)):
        study.enqueue_trial(point)
    return Study(sweep, study, storage, url)


def _find(storage: RDBStorage, name: str, url: str) -> Study:
    names = sorted(optuna.get_all_study_names(storage))
    found = [one for one in names if one == name] or [one for one in names if one.startswith(name)]
    if len(found) != 1:
        there = f"there are {', '.join(found[:5])}" if found else f"it holds {', '.join(names[:5]) or 'none'}"
        raise InputError(f'{without_password(url)}: "{name}" matches no single sweep; {there}')
    if (known := _load(storage, found[0], url)) is None:
        raise InputError(f"{without_password(url)}: the study {found[0]} is not a sweep of tltui")
    study = optuna.load_study(
        study_name=found[0], storage=storage, sampler=_sampler(known.sweep, new=False), pruner=_pruner(known.sweep)
    )
    return Study(known.sweep, study, storage, url)


def _load(storage: RDBStorage, name: str, url: str) -> Study | None:
    """Load a study for reading; None where it is not a sweep of tltui."""
    study = optuna.load_study(study_name=name, storage=storage)
    try:
        sweep = msgspec.json.decode(study.user_attrs[_DEFINITION], type=Sweep)
    except (KeyError, msgspec.DecodeError):
        return None
    return Study(sweep, study, storage, url)


def has_live_worker(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker is alive and has not released it, as far as this machine can tell."""
    if trial.user_attrs.get(_WORKER) == _NOBODY:
        return False
    seen = trial.user_attrs.get(_SEEN) or (trial.datetime_start.timestamp() if trial.datetime_start else 0.0)
    silent = time.time() - seen > _TIMEOUT
    try:
        worker = msgspec.json.decode(trial.user_attrs[_WORKER], type=Holder)
    except (KeyError, msgspec.DecodeError):
        return not silent
    return lives_here(worker) or (worker.host != this_process().host and not silent)


def _distributions(space: list[Dimension]) -> dict[str, BaseDistribution]:
    return {dimension.name: _distribution(dimension) for dimension in space}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.labels)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _sampler(sweep: Sweep, new: bool) -> optuna.samplers.BaseSampler:
    """Build the sampler of a sweep. Raises InputError for an unknown one."""
    # Only the first worker is seeded: with the same seed, others would sample the same settings.
    seed = sweep.config.train.seed % 2**32 if new else None
    return samplers.find("sampler", sweep.sampler, SAMPLERS).build(seed)


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """Build the pruner of a sweep. Raises InputError for an unknown one."""
    epochs = [sweep.config.train.epochs]
    for dimension in sweep.space:
        epochs += [settings["train.epochs"] for settings in dimension.extremes() if "train.epochs" in settings]
    return samplers.find("pruner", sweep.pruner, PRUNERS).build(max(epochs))


def _enqueue_grid(study: optuna.Study, sweep: Sweep) -> None:
    """Enqueue the grid's combinations in random order, up to the number of trials, so that the first cover the grid."""
    there = {_key(found) for trial in study.get_trials(deepcopy=False) if (found := _combination(trial))}
    for combination in islice(shuffled_grid(sweep.space), sweep.trials or None):
        if _key(combination) not in there:
            study.enqueue_trial(combination)


def _key(combination: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(combination.items())


def _combination(trial: FrozenTrial) -> dict[str, Any] | None:
    """The choices with which a trial was enqueued. Workers that start together may each enqueue all."""
    return trial.system_attrs.get("fixed_params")


def _base_point(sweep: Sweep) -> dict[str, Any] | None:
    """The base's settings, which the first trial uses; None where the space does not contain them."""
    tables, point = sweep.base, {}
    for dimension in sweep.space:
        if isinstance(dimension, Choices):
            own = tuple(_value(tables, key) for key in dimension.keys)
            if own not in dimension.values:
                return None
            point[dimension.name] = dimension.labels[dimension.values.index(own)]
        elif not dimension.low <= (own := _value(tables, dimension.key)) <= dimension.high:
            return None
        else:
            point[dimension.name] = own
    return point


def _value(tables: dict[str, dict[str, Any]], key: str) -> Any:  # noqa: ANN401 (whatever a setting takes)
    section, name = key.split(".")
    return tables[section][name]
