"""Sweeps that answer what everyone asks: a sweep.toml each, for one to read, change and run. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Table

from engine.config.freeze_rules import HEAD, parse_rules
from engine.config.optimizers import OPTIMIZERS
from engine.config.schema import RunConfig

_BATCH_SIZES = (8, 16, 32, 64, 128)
_EPOCHS = (3, 5, 10, 20, 40)
_OPTIMIZER_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Preset:
    """A sweep: what it is about, its settings but for base and space, and the space that suits a config."""

    about: str
    settings: dict[str, Any]
    space: Callable[[RunConfig], dict[str, Any]]


def to_toml(name: str, base: str, config: RunConfig) -> str:
    """The sweep of that name, one of ``PRESETS``, as TOML; ``config`` is what ``base`` names."""
    ready = PRESETS[name]
    return as_toml({"base": base, **ready.settings, "space": ready.space(config)}, ready.about)


def as_toml(tables: Mapping[str, Any], about: str = "") -> str:
    """A sweep.toml with these settings, ``about`` as its first line."""
    document = tomlkit.document()
    if about:
        document.add(tomlkit.comment(about))
    for key, value in tables.items():
        document.add(key, _space(value) if key == "space" else tomlkit.item(value))
    return tomlkit.dumps(document)


def space_to_toml(space: Mapping[str, Any]) -> str:
    """The lines of [space]."""
    return tomlkit.dumps(_space(space)).rstrip("\n")


def _space(space: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    for key, value in space.items():
        table.add(tomlkit.key(key), tomlkit.item(value) if isinstance(value, list) else _inline(value))
    return table


def _inline(values: dict[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    table.update(values)
    return table


def _rates(config: RunConfig) -> dict[str, Any]:
    space: dict[str, Any] = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    if trains_backbone(config.freeze.rules):
        space["optimizer.backbone_lr_factor"] = {"low": 0.01, "high": 1.0, "log": True}
    return space


def _batch(config: RunConfig) -> dict[str, Any]:
    """Each size with the rate as it is, and scaled linearly (Goyal et al. 2017, arXiv:1706.02677)."""
    rate, size = config.optimizer.lr, config.train.batch_size
    pairs = [[at, float(f"{scaled:.3g}")] for at in _BATCH_SIZES for scaled in dict.fromkeys((rate, rate * at / size))]
    return {"train.batch_size, optimizer.lr": [pair for pair in pairs if pair[1] <= 100]}


def _epochs(_config: RunConfig) -> dict[str, Any]:
    return {"train.epochs": list(_EPOCHS)}


def _optimizers(_config: RunConfig) -> dict[str, Any]:
    kinds = [
        [name, momentum]
        for name, entry in OPTIMIZERS.items()
        for momentum in ((0.0, 0.9) if "momentum" in entry.settings else (0.9,))
    ]
    return {"optimizer.name, optimizer.momentum": kinds, "optimizer.lr": list(_OPTIMIZER_RATES)}


def trains_backbone(rules: list[str]) -> bool:
    """Whether a freeze plan may train more than the head, as far as one can tell without the network."""
    trains = True
    for rule in parse_rules(rules):
        if rule.pattern == "*":
            trains = rule.verb == "train"
        elif rule.verb == "train" and rule.pattern != HEAD:
            trains = True
    return trains


_GRID = {"sampler": "grid", "pruner": "none", "parallel": 1}
PRESETS = {
    "rates": Preset(
        "Learning rates: of the head, and of the backbone as a factor of it where the backbone trains.",
        {"sampler": "tpe", "pruner": "median", "trials": 30, "parallel": 1},
        _rates,
    ),
    "batch": Preset("Batch sizes, each with the learning rate as it is and scaled with the size.", _GRID, _batch),
    "epochs": Preset("How long to train: each with a learning rate schedule of its own length.", _GRID, _epochs),
    "optimizers": Preset("Optimizers, each at several rates; momentum is that of sgd and rmsprop.", _GRID, _optimizers),
}
