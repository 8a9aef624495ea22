"""A run is a folder: its paths, and how it is made. Imports no torch."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.config.data_sources import dataset_label
from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.files.safe_open import open_to_append
from engine.runs.start_weights import resolve_start_weights
from engine.warning_codes import Warn


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Nothing is read or written until a method is called."""

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
        return self.path / "engine.runs.lock"

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
        """The config as it was validated when the run was made. Raises InputError."""
        return load(self.config)

    def open_log(self) -> BinaryIO:
        """engine.log, to append what the engine's process prints. Raises OSError where a link stands in its place."""
        return open_to_append(self.log)

    def refuse_links(self) -> None:
        """Raises InputError where the engine would write through a link: the folder may come from someone else."""
        found = [path for path in (*self.path.glob("*"), *self.path.glob("*/*")) if path.is_symlink()]
        for path in found:
            # last and best name a checkpoint beside them.
            if path.parent == self.checkpoints and os.path.basename(path.readlink()) == str(path.readlink()):
                continue
            raise InputError(
                f"{path} is a link and may lead anywhere; put what it names in its place, or remove it, "
                "before the run goes on"
            )


def create(runs: Path, config: RunConfig) -> RunFolder:
    """Make a new run's folder (mode 0700) below ``runs`` and write its run.toml. Raises InputError.

    The id of an earlier run in ``model.weights`` becomes its path.
    """
    config = resolve_start_weights(config, runs)
    label = re.sub(r"[^a-z0-9]+", "-", f"{data_label(config)} {config.model.name}".lower()).strip("-")[:60]
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            path = runs / f"{secrets.token_hex(2)}-{label}"
            try:
                path.mkdir(mode=0o700)
                path.chmod(0o700)  # whatever the umask made of it
                break
            except FileExistsError:
                continue
        folder = RunFolder(path.resolve())
        try:
            write_atomically(folder.config, to_toml(config).encode())
        except OSError:
            with suppress(OSError):
                path.rmdir()
            raise
    except OSError as error:
        raise InputError(
            f"{runs}: can't hold runs ({error.strerror}); choose another folder with --runs-dir or $TLTUI_RUNS"
        ) from None
    return folder


def data_label(config: RunConfig) -> str:
    """A short name of a run's dataset."""
    return dataset_label(config.data.source, config.data.path, config.data.name)


def write_or_warn(path: Path, content: bytes, warn: Warn) -> None:
    """Write a file that a run can do without atomically, unless it has that content; say so if it can't be written."""
    try:
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
    except OSError as error:
        warn("not_written", f"{path}: can't be written ({error.strerror}); the run goes on without; make room there")
