"""The folder of a run: its paths and its creation. Imports no torch."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.config.data_sources import dataset_label
from engine.config.model_names import model_label
from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.files.safe_open import open_to_append
from engine.runs.run_group import RunGroup
from engine.runs.start_weights import resolve_start_weights
from engine.warning_codes import Warn


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Only its methods read or write."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "run.toml"

    @property
    def model(self) -> Path:
        return self.path / "model.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.csv"

    @property
    def group(self) -> Path:
        return self.path / "group.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        return self.path / "commands.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    @property
    def lock(self) -> Path:
        return self.path / "engine.lock"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    def load_config(self) -> RunConfig:
        """Read run.toml. Raises InputError."""
        return load(self.config)

    def open_log(self) -> BinaryIO:
        """Open engine.log to append the worker's output. Raises OSError if it is a link."""
        return open_to_append(self.log)

    def refuse_links(self) -> None:
        """Raise InputError if the worker would write through a link: the folder may come from someone else."""
        found = [path for path in (*self.path.glob("*"), *self.path.glob("*/*")) if path.is_symlink()]
        for path in found:
            # last and best link to a checkpoint beside them.
            if path.parent == self.checkpoints and os.path.basename(path.readlink()) == str(path.readlink()):
                continue
            raise InputError(
                f"{path} is a link and may lead anywhere; replace it by its target or remove it, then resume the run"
            )


def create(runs: Path, config: RunConfig, group: RunGroup | None = None) -> RunFolder:
    """Create a run folder (mode 0700) below ``runs`` with its run.toml, and its group.json if it has a ``group``.

    The id of an earlier run in ``model.weights`` becomes its path. Raises InputError.
    """
    config = resolve_start_weights(config, runs)
    label = re.sub(r"[^a-z0-9]+", "-", f"{data_label(config)} {model_label(config.model.name)}".lower()).strip("-")[:60]
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = runs / f"{secrets.token_hex(2)}-{label}"
            try:
                path.mkdir(mode=0o700)
                path.chmod(0o700)  # the umask may have cleared bits
                break
            except FileExistsError:
                continue
        folder = RunFolder(path.resolve())
        try:
            if group:
                write_atomically(folder.group, msgspec.json.encode(group))
            write_atomically(folder.config, to_toml(config).encode())
        except OSError:
            with suppress(OSError):
                folder.group.unlink(missing_ok=True)
                path.rmdir()
            raise
    except OSError as error:
        raise InputError(
            f"{runs}: can't hold runs ({error.strerror}); choose another folder with --runs-dir or $TLTUI_RUNS"
        ) from None
    return folder


def data_label(config: RunConfig) -> str:
    """A short name for a run's dataset."""
    return dataset_label(config.data.source, config.data.path, config.data.name)


def write_or_warn(path: Path, content: bytes, warn: Warn) -> None:
    """Write an optional file atomically, unless it has that content; warn if it can't be written."""
    try:
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
    except OSError as error:
        warn(
            "not_written", f"{path}: can't be written ({error.strerror}); the run continues without it; free disk space"
        )
