"""Samplers and pruners of sweeps: one entry each. Imports Optuna only to build one.

To add one, add an entry. sweep.toml, the app's form, the command line and the manual offer it without further code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from engine.errors import InputError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

_MEDIAN_STARTUP_TRIALS = 5  # finished trials before the median pruner prunes any
_MEDIAN_WARMUP = 5  # it prunes none in the first fifth of the epochs


@dataclass(frozen=True)
class Sampler:
    """Chooses the settings of each trial. ``build`` takes a seed; None draws one."""

    help: str
    build: Callable[[int | None], BaseSampler]


@dataclass(frozen=True)
class Pruner:
    """Stops unpromising trials early. ``build`` takes the largest number of epochs of any trial."""

    help: str
    build: Callable[[int], BasePruner]


def _random(seed: int | None) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _tpe(seed: int | None) -> BaseSampler:
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is experimental in Optuna 4 and the default in 5
        return TPESampler(seed=seed, constant_liar=True)


def _none(_epochs: int) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(epochs: int) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(_MEDIAN_STARTUP_TRIALS, n_warmup_steps=epochs // _MEDIAN_WARMUP)


def _hyperband(epochs: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


GRID = "grid"
"""The sampler whose combinations are enqueued in the study in random order. Optuna samples none."""

SAMPLERS: dict[str, Sampler] = {
    GRID: Sampler("all combinations of the lists", _random),
    "random": Sampler("independent draws", _random),
    "tpe": Sampler("tree-structured Parzen estimator, learns which settings are good", _tpe),
}
PRUNERS: dict[str, Pruner] = {
    "none": Pruner("every trial runs to its end", _none),
    "median": Pruner("stops a trial below the median of the others at the same epoch", _median),
    "hyperband": Pruner("successive halving with several budgets", _hyperband),
}

Entry = TypeVar("Entry", Sampler, Pruner)


def find(kind: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """The entry called ``name``. Raises InputError for an unknown one: another version may have made the sweep."""
    if name not in entries:
        raise InputError(f'unknown {kind} "{name}"; choose from {", ".join(entries)}')
    return entries[name]


def describe(entries: Mapping[str, Sampler] | Mapping[str, Pruner]) -> str:
    """All entries with their help, on one line."""
    return "; ".join(f"{name}: {entry.help}" for name, entry in entries.items())
