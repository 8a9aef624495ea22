"""Checkpoints on disk: one folder each, complete or absent. ``last`` and ``best`` are links to one of them."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from engine.errors import first_line
from engine.files.atomic import sync_folder
from engine.models.freezing import FrozenState
from engine.rng import RandomState
from engine.runs.events import Epoch
from engine.runs.folder import RunFolder
from engine.runs.state import best_epoch
from engine.training.optimizers import NamedState
from engine.warning_codes import Warn

MODEL = "model.safetensors"
_TRAINED = "trained.safetensors"  # only with averaged weights: those that training continues with
_OPTIMIZER = "optimizer.safetensors"
_TRAINER = "trainer.json"
_FILES = (MODEL, _OPTIMIZER, _TRAINER)
_SUMS = "SHA256SUMS"
LAST, BEST = "last", "best"
_REST = 20  # the writer rests this many times as long as it wrote, so that it costs training less than 5 %


class EpochTotals(msgspec.Struct):
    """Sums over the training images of the current epoch.

    - ``done``: steps taken; ``sound``: whether all of them were finite; ``seconds``: time spent on them.
    - ``loss``: losses of the images, each times its class weight; ``weight``: those weights.
    - ``correct``: the training metric of ``count`` images: in most tasks, how many are predicted correctly.
    """

    done: int = 0
    loss: float = 0.0
    correct: float = 0.0
    count: int = 0
    sound: bool = True
    seconds: float = 0.0
    weight: float = -1.0

    def __post_init__(self) -> None:
        # Checkpoints of version 0.1.0 have no weight: each batch's mean loss counts once per image there.
        if self.weight < 0:
            self.weight = float(self.count)


class TrainerState(msgspec.Struct):
    """The state of training without its tensors: the content of trainer.json.

    - ``epoch`` and ``step`` count completed epochs and steps; ``totals`` sums over the current epoch.
    - ``seq``: the number of the last event before the checkpoint.
    - ``settings``: the config, with all changes by commands.
    - ``phase``: the number of the recipe's current phase.
    - ``skips``: consecutive non-finite steps up to now.
    - ``numbers``: the optimizer state that is no tensor, by parameter name.
    """

    epoch: int
    step: int
    seq: int
    settings: dict[str, Any]
    totals: EpochTotals
    epochs: list[Epoch]
    rollbacks: int
    frozen: FrozenState
    scaler: dict[str, Any]
    random: RandomState
    phase: int = 0
    skips: int = 0
    numbers: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment. Training does not change it any more.

    ``weights`` is the network's state dict, ``average`` holds the averages of some of them. ``optimizer`` includes the
    state of parameters that are frozen now.
    """

    trainer: TrainerState
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: NamedState


@dataclass(frozen=True)
class WrittenCheckpoint:
    """A checkpoint on disk. ``problem`` says why it could not be written; earlier checkpoints then remain."""

    path: Path
    epoch: int
    step: int
    best: bool
    problem: str = ""


class CheckpointWriter:
    """Writes checkpoints in a background thread while training continues.

    If epochs are shorter than writing takes, it writes only the latest and the best snapshot that wait.
    """

    def __init__(self, folder: RunFolder, before_publish: Callable[[], None]) -> None:
        """``before_publish`` is called in the thread, once a checkpoint is on disk and before a link names it."""
        self._folder = folder
        self._before_publish = before_publish
        self._changed = threading.Condition()
        self._waiting: dict[str, Snapshot] = {}  # "best" and "last"
        self._busy = False
        self._resting = False
        self._hurry = False
        self._written: list[WrittenCheckpoint] = []
        threading.Thread(target=self._work, daemon=True).start()

    def save(self, snapshot: Snapshot, *, best: bool) -> None:
        """Queue ``snapshot`` for writing."""
        with self._changed:
            self._waiting["last"] = snapshot
            if best:
                self._waiting["best"] = snapshot
            self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Whether a snapshot saved now would wait."""
        with self._changed:
            return bool(self._waiting) or self._busy or self._resting

    def finish(self) -> None:
        """Wait until all saved snapshots are written."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._busy)
            self._hurry = False

    def written(self) -> list[WrittenCheckpoint]:
        """The checkpoints written since the last call."""
        with self._changed:
            written, self._written = self._written, []
        return written

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                best = "best" in self._waiting
                snapshot = self._waiting.pop("best" if best else "last")
                if snapshot is self._waiting.get("last"):
                    del self._waiting["last"]
                self._busy = True
            started = time.monotonic()
            written = _write_checkpoint(self._folder, snapshot, self._before_publish, best=best)
            with self._changed:
                self._busy, self._resting = False, True
                self._written.append(written)
                self._changed.notify_all()
                rest = _REST * (time.monotonic() - started)
                self._changed.wait_for(lambda: self._hurry, timeout=rest)
                self._resting = False


def _write_checkpoint(
    folder: RunFolder, snapshot: Snapshot, before_publish: Callable[[], None], *, best: bool
) -> WrittenCheckpoint:
    epoch, step = snapshot.trainer.epoch, snapshot.trainer.step
    try:
        path = save(folder.checkpoints, snapshot, before_publish, best=best)
        return WrittenCheckpoint(path, epoch, step, best)
    except Exception as error:  # safetensors raises errors of its own for a full disk
        return WrittenCheckpoint(folder.checkpoints, epoch, step, best, first_line(error))


def save(checkpoints: Path, snapshot: Snapshot, before_publish: Callable[[], None], *, best: bool) -> Path:
    """Write a checkpoint, link it as ``last`` and, if ``best``, as ``best``, and remove old ones. Returns the link.

    The best checkpoint and the one before the last remain. ``before_publish`` is called once all files are on disk
    and before a link names them. Raises OSError; earlier checkpoints are then unchanged.
    """
    checkpoints.mkdir(mode=0o700, exist_ok=True)
    name = _free_name(checkpoints, snapshot.trainer.step)
    temporary = checkpoints / f".{name}"
    try:
        temporary.mkdir(mode=0o700)
        _write(temporary, snapshot)
        before_publish()
        os.replace(temporary, checkpoints / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(checkpoints)
    keep = {name, (checkpoints / LAST).resolve().name}
    for link in (LAST, BEST) if best else (LAST,):
        set_link(checkpoints, link, name)
    keep.add((checkpoints / BEST).resolve().name)
    for old in (*checkpoints.glob("step-*"), *checkpoints.glob(".step-*")):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)
    return checkpoints / (BEST if best else LAST)


def set_link(checkpoints: Path, link: str, name: str) -> None:
    """Point ``link`` to the checkpoint in the folder ``name``, atomically."""
    temporary = checkpoints / f".{link}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    os.replace(temporary, checkpoints / link)
    sync_folder(checkpoints)


def newest_intact(checkpoints: Path, warn: Warn) -> Path | None:
    """The newest checkpoint with intact files, which ``last`` then names; None if there is none.

    ``warn`` receives a warning about each damaged one.
    """
    last = (checkpoints / LAST).resolve().name
    others = sorted((path.name for path in checkpoints.glob("step-*")), reverse=True)
    for name in dict.fromkeys([last, *others] if (checkpoints / last).is_dir() else others):
        problem = find_damage(checkpoints / name)
        if not problem:
            if name != last:
                set_link(checkpoints, LAST, name)
            _link_if_best(checkpoints, name)
            return checkpoints / name
        warn("checkpoint_damaged", f"{checkpoints / name}: {problem}; the checkpoint before it is used")
    return None


def _link_if_best(checkpoints: Path, name: str) -> None:
    """Point ``best`` to the best checkpoint, if the writer died or the disk was full between the two links."""
    trainer = load_trainer(checkpoints / name)
    best = best_epoch(trainer.epochs)
    if best is not None and best.step == trainer.step and (checkpoints / BEST).resolve().name != name:
        with suppress(OSError):  # evaluation warns that the best one is gone
            set_link(checkpoints, BEST, name)


def find_damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint's files; "" if their checksums match."""
    try:
        listed = [line.split("  ", 1) for line in (checkpoint / _SUMS).read_text().splitlines()]
        if {name for _, name in listed} - {_TRAINED} != {*_FILES}:
            return f"{_SUMS} is damaged"
        damaged = [name for digest, name in listed if _digest(checkpoint / name) != digest]
    except (OSError, ValueError) as error:
        return f"can't be read ({first_line(error)})"
    return f"{damaged[0]} is damaged" if damaged else ""


def load_weights(checkpoint: Path, module: nn.Module, *, leave: Container[str] = (), averaged: bool = True) -> None:
    """Load a checkpoint's weights and buffers into ``module``, except those named in ``leave``.

    ``averaged``: the averages, where the run has them, not the weights that training continues with.
    """
    found = load_file(checkpoint / MODEL)
    if not averaged and (checkpoint / _TRAINED).exists():
        found |= load_file(checkpoint / _TRAINED)
    module.load_state_dict({name: found[name] for name in found if name not in leave}, strict=not leave)


def load_average(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The averages in a checkpoint, by name; empty where the run has none."""
    if not (checkpoint / _TRAINED).exists():
        return {}
    weights = load_file(checkpoint / MODEL)
    return {name: weights[name] for name in load_file(checkpoint / _TRAINED)}


def load_trainer(checkpoint: Path) -> TrainerState:
    """The state of training in a checkpoint, without tensors."""
    return msgspec.json.decode((checkpoint / _TRAINER).read_bytes(), type=TrainerState)


def load_config(checkpoint: Path) -> RunConfig:
    """The config at the checkpoint. Raises InputError if another version of the program wrote it."""
    return from_tables(load_trainer(checkpoint).settings)


def load_optimizer(checkpoint: Path) -> NamedState:
    """The optimizer state in a checkpoint, by parameter name."""
    optimizer: NamedState = {name: dict(values) for name, values in load_trainer(checkpoint).numbers.items()}
    for key, tensor in load_file(checkpoint / _OPTIMIZER).items():
        name, _, field = key.rpartition("/")
        optimizer.setdefault(name, {})[field] = tensor
    return optimizer


def _free_name(checkpoints: Path, step: int) -> str:
    """An unused folder name. Names sort by step, then by time."""
    for number in itertools.count(1):
        name = f"step-{step:08}" + (f"-{number:03}" if number > 1 else "")
        if not (checkpoints / name).exists() and not (checkpoints / f".{name}").exists():
            return name
    raise AssertionError


def _write(path: Path, snapshot: Snapshot) -> None:
    files = [*_FILES, _TRAINED] if snapshot.average else _FILES
    used = snapshot.weights | snapshot.average
    save_file({key: to_plain_tensor(tensor) for key, tensor in used.items()}, path / MODEL)
    if snapshot.average:
        trained = {key: to_plain_tensor(snapshot.weights[key]) for key in snapshot.average}
        save_file(trained, path / _TRAINED)
    tensors, numbers = {}, {}
    for name, values in snapshot.optimizer.items():
        tensors |= {
            f"{name}/{key}": to_plain_tensor(value) for key, value in values.items() if isinstance(value, torch.Tensor)
        }
        numbers[name] = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
    save_file(tensors, path / _OPTIMIZER)
    trainer = msgspec.structs.replace(snapshot.trainer, numbers=numbers)
    (path / _TRAINER).write_bytes(msgspec.json.encode(trainer))
    (path / _SUMS).write_text("".join(f"{_digest(path / name)}  {name}\n" for name in files))
    for name in (*files, _SUMS):
        with (path / name).open("rb") as written:
            os.fsync(written.fileno())
    sync_folder(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_plain_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy on the CPU that shares no memory, as safetensors requires."""
    return tensor.detach().to("cpu", copy=True).contiguous()
