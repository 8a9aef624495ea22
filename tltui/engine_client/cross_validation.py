"""Cross-validations of the app: `tltui train --folds` trains them in the background."""

from __future__ import annotations

from pathlib import Path

from engine.experiments.cross_validation.definition import CrossValidation, folder_of
from engine.experiments.cross_validation.worker import prepare
from tltui.engine_client.background import BackgroundCommand


def start_folds(runs_dir: Path, validation: CrossValidation) -> BackgroundCommand:
    """Train the folds of ``validation``, or continue them. Raises InputError."""
    prepare(runs_dir, validation)
    return continue_folds(runs_dir, validation.name, validation.folds)


def continue_folds(runs_dir: Path, name: str, folds: int) -> BackgroundCommand:
    """Continue a cross-validation by its name. Raises InputError."""
    folder = folder_of(runs_dir, name)
    options = ("--folds", str(folds), "--json", "--runs-dir", str(runs_dir))
    return BackgroundCommand(["train", str(folder.config), *options], folder.log)
