"""Presets: ready-made sweeps for common questions, one entry each.

To add one, add an entry. The command line and the app's form offer it without further code.
Imports neither torch nor pydantic, so that the command line starts fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.config.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from engine.config.schema import RunConfig

_BATCH_SIZES = (8, 16, 32, 64, 128)
_EPOCHS = (3, 5, 10, 20, 40)
_OPTIMIZER_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Preset:
    """A ready-made sweep.

    ``about``: one sentence. ``settings``: of sweep.toml, without base and space. ``space``: the space for a config.
    """

    about: str
    settings: dict[str, Any]
    space: Callable[[RunConfig], dict[str, Any]]


def _rates(config: RunConfig) -> dict[str, Any]:
    space: dict[str, Any] = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    if _may_train_backbone(config.freeze.rules):
        space["optimizer.backbone_lr_factor"] = {"low": 0.01, "high": 1.0, "log": True}
    return space


def _batch(config: RunConfig) -> dict[str, Any]:
    """Each batch size with the learning rate unchanged and scaled linearly (Goyal et al. 2017, arXiv:1706.02677)."""
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


def _may_train_backbone(rules: list[str]) -> bool:
    """Whether a freeze plan may train more than the head, judged without the network."""
    from engine.config.freeze_rules import HEAD, parse_rules

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
        "Learning rates: the head's, and the backbone's as a factor of it where the backbone is trainable.",
        {"sampler": "tpe", "pruner": "median", "trials": 30, "parallel": 1},
        _rates,
    ),
    "batch": Preset("Batch sizes, each with the learning rate unchanged and scaled linearly.", _GRID, _batch),
    "epochs": Preset("Numbers of epochs, each with a learning-rate schedule of that length.", _GRID, _epochs),
    "optimizers": Preset(
        "Optimizers, each at several learning rates; momentum applies to sgd and rmsprop.", _GRID, _optimizers
    ),
}
