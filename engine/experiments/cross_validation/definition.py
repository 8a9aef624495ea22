"""A k-fold cross-validation: the settings of its folds, and its name. Imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.config.schema import KFOLD, SPLIT_METHODS, RunConfig
from engine.config.toml_io import with_settings
from engine.errors import InputError
from engine.runs.folder import RunFolder
from engine.runs.run_group import RunGroup

_FOLDER = "folds"  # below that of the runs: settings, lock and log of each cross-validation


def folder_of(runs: Path, name: str) -> RunFolder:
    """The folder of a cross-validation itself, which has settings, lock and log like a run."""
    return RunFolder(runs / _FOLDER / name)


@dataclass(frozen=True)
class CrossValidation:
    """``config``: the settings of the first fold."""

    name: str
    config: RunConfig

    @property
    def folds(self) -> int:
        """The number of folds."""
        return self.config.data.folds

    def fold(self, number: int) -> tuple[RunConfig, RunGroup]:
        """The settings and the group of a fold, from 1."""
        return with_settings(self.config, {"data.fold": number}), RunGroup(self.name, number, self.folds)


def define(config: RunConfig, folds: int) -> CrossValidation:
    """The cross-validation of ``config``. Raises InputError.

    Its name holds a digest of the settings. So the same settings continue the same cross-validation.
    """
    if config.data.split not in SPLIT_METHODS:
        raise InputError(
            f"data.split = {config.data.split} has the splits already; set it to kfold to divide the images into folds"
        )
    first = with_settings(config, {"data.split": KFOLD, "data.folds": folds, "data.fold": 1})
    digest = hashlib.sha256(msgspec.json.encode(first.model_dump())).hexdigest()
    return CrossValidation(f"cv-{digest[:6]}", first)
