"""Checkpoints: a folder each, complete or not there; ``last`` and ``best`` are links to one of them."""

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
from engine.models.freezing import FrozenMemory
from engine.rng import RandomState
from engine.runs.events import Epoch
from engine.runs.folder import RunFolder
from engine.runs.state import best_epoch
from engine.training.optimizers import NamedState
from engine.warning_codes import Warn

MODEL = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_TRAINER = "trainer.json"
_FILES = (MODEL, _OPTIMIZER, _TRAINER)
_SUMS = "SHA256SUMS"
LAST, BEST = "last", "best"
_REST = 20  # times as long as writing one took the writer rests, so that it takes less than 5 % from training


class Totals(msgspec.Struct):
    """Sums over the training images of an epoch so far; ``loss``: of their losses, each times its class weight;
    ``weight``: of those weights; ``done``: steps; ``sound``: all steps were finite; ``seconds``: spent on it."""

    done: int = 0
    loss: float = 0.0
    correct: int = 0
    count: int = 0
    sound: bool = True
    seconds: float = 0.0
    weight: float = -1.0

    def __post_init__(self) -> None:
        # Checkpoints of version 0.1.0 have no weight: there, each batch's mean loss counts once for each image.
        if self.weight < 0:
            self.weight = float(self.count)


class TrainerState(msgspec.Struct):
    """What goes on with training besides tensors: all of trainer.json.

    ``epoch`` and ``step`` count what is done, ``totals`` are those of the epoch that is under way. ``seq``: the last
    event when this was so. ``phase``: of the recipe, the one in force. ``skips``: consecutive steps up to now that were
    not finite. ``numbers``: what the optimizer remembers besides tensors.
    """

    epoch: int
    step: int
    seq: int
    settings: dict[str, Any]
    totals: Totals
    epochs: list[Epoch]
    rollbacks: int
    frozen: FrozenMemory
    scaler: dict[str, Any]
    random: RandomState
    phase: int = 0
    skips: int = 0
    numbers: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment: ``weights`` is the network's whole state dict, ``optimizer`` also remembers what is frozen
    for now. Nothing in it moves when training goes on."""

    trainer: TrainerState
    weights: dict[str, torch.Tensor]
    optimizer: NamedState


@dataclass(frozen=True)
class Written:
    """A checkpoint that is on disk; ``problem``: why it is not, then the ones before are still there."""

    path: Path
    epoch: int
    step: int
    best: bool
    problem: str = ""


class CheckpointWriter:
    """Writes checkpoints in a thread, so that training goes on meanwhile.

    Where epochs are shorter than writing takes, only the latest and the best of those that wait are written.
    """

    def __init__(self, folder: RunFolder, before_it_counts: Callable[[], None]) -> None:
        """``before_it_counts``: called, in the thread, when a checkpoint is on the disk and nothing names it yet."""
        self._folder = folder
        self._before_it_counts = before_it_counts
        self._changed = threading.Condition()
        self._waiting: dict[str, Snapshot] = {}  # "best" and "last"
        self._busy = False
        self._rests = False
        self._hurry = False
        self._written: list[Written] = []
        threading.Thread(target=self._work, daemon=True).start()

    def save(self, snapshot: Snapshot, *, best: bool) -> None:
        """Have ``snapshot`` written soon."""
        with self._changed:
            self._waiting["last"] = snapshot
            if best:
                self._waiting["best"] = snapshot
            self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Whether what is saved now would have to wait."""
        with self._changed:
            return bool(self._waiting) or self._busy or self._rests

    def finish(self) -> None:
        """Wait until all that was saved is written."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._busy)
            self._hurry = False

    def written(self) -> list[Written]:
        """What was written since the last call."""
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
            written = _write_checkpoint(self._folder, snapshot, self._before_it_counts, best=best)
            with self._changed:
                self._busy, self._rests = False, True
                self._written.append(written)
                self._changed.notify_all()
                rest = _REST * (time.monotonic() - started)
                self._changed.wait_for(lambda: self._hurry, timeout=rest)
                self._rests = False


def _write_checkpoint(
    folder: RunFolder, snapshot: Snapshot, before_it_counts: Callable[[], None], *, best: bool
) -> Written:
    epoch, step = snapshot.trainer.epoch, snapshot.trainer.step
    try:
        path = save(folder.checkpoints, snapshot, before_it_counts, best=best)
        return Written(path, epoch, step, best)
    except Exception as error:  # safetensors has errors of its own for a full disk, and nobody else would see them
        return Written(folder.checkpoints, epoch, step, best, first_line(error))


def save(checkpoints: Path, snapshot: Snapshot, before_it_counts: Callable[[], None], *, best: bool) -> Path:
    """Write a checkpoint and let ``last``, and if it is the best ``best``, name it. Older ones are removed,
    but for the best and the one before the last. Returns the path that names it.

    Raises OSError, then those before are as they were.

    ``before_it_counts`` is called when all is on the disk and nothing names it yet.
    """
    checkpoints.mkdir(mode=0o700, exist_ok=True)
    name = _free_name(checkpoints, snapshot.trainer.step)
    temporary = checkpoints / f".{name}"
    try:
        temporary.mkdir(mode=0o700)
        _write(temporary, snapshot)
        before_it_counts()
        os.replace(temporary, checkpoints / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(checkpoints)
    keep = {name, (checkpoints / LAST).resolve().name}
    for link in (LAST, BEST) if best else (LAST,):
        point(checkpoints, link, name)
    keep.add((checkpoints / BEST).resolve().name)
    for old in (*checkpoints.glob("step-*"), *checkpoints.glob(".step-*")):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)
    return checkpoints / (BEST if best else LAST)


def point(checkpoints: Path, link: str, name: str) -> None:
    """Let ``link`` name the checkpoint in the folder ``name``, from one moment to the next."""
    temporary = checkpoints / f".{link}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    os.replace(temporary, checkpoints / link)
    sync_folder(checkpoints)


def newest_sound(checkpoints: Path, on_problem: Warn) -> Path | None:
    """The last checkpoint whose files are what was written, which ``last`` names from then on; None if there is none.

    ``on_problem`` is given a code and a sentence about each that is damaged.
    """
    last = (checkpoints / LAST).resolve().name
    others = sorted((path.name for path in checkpoints.glob("step-*")), reverse=True)
    for name in dict.fromkeys([last, *others] if (checkpoints / last).is_dir() else others):
        problem = damage(checkpoints / name)
        if not problem:
            if name != last:
                point(checkpoints, LAST, name)
            _name_if_best(checkpoints, name)
            return checkpoints / name
        on_problem("checkpoint_damaged", f"{checkpoints / name}: {problem}; the one before it is taken")
    return None


def _name_if_best(checkpoints: Path, name: str) -> None:
    """Let ``best`` name a checkpoint that is; its writer may have died, or the disk been full, when ``last`` did."""
    trainer = load_trainer(checkpoints / name)
    best = best_epoch(trainer.epochs)
    if best is not None and best.step == trainer.step and (checkpoints / BEST).resolve().name != name:
        with suppress(OSError):  # evaluation will say that the best one is gone
            point(checkpoints, BEST, name)


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint's files, "" if each has the content that was written."""
    try:
        listed = [line.split("  ", 1) for line in (checkpoint / _SUMS).read_text().splitlines()]
        if sorted(name for _, name in listed) != sorted(_FILES):
            return f"{_SUMS} is damaged"
        wrong = [name for digest, name in listed if _digest(checkpoint / name) != digest]
    except (OSError, ValueError) as error:
        return f"can't be read ({first_line(error)})"
    return f"{wrong[0]} is damaged" if wrong else ""


def load_weights(checkpoint: Path, module: nn.Module, *, leave: Container[str] = ()) -> None:
    """Put a checkpoint's weights and buffers into ``module``, but for those named in ``leave``."""
    weights = {name: tensor for name, tensor in load_file(checkpoint / MODEL).items() if name not in leave}
    module.load_state_dict(weights, strict=not leave)


def load_trainer(checkpoint: Path) -> TrainerState:
    """What ``save`` was given, but for tensors."""
    return msgspec.json.decode((checkpoint / _TRAINER).read_bytes(), type=TrainerState)


def settings(checkpoint: Path) -> RunConfig:
    """Those in force when it was made. Raises InputError where another version wrote them."""
    return from_tables(load_trainer(checkpoint).settings)


def load_optimizer(checkpoint: Path) -> NamedState:
    """What the optimizer remembered."""
    optimizer: NamedState = {name: dict(values) for name, values in load_trainer(checkpoint).numbers.items()}
    for key, tensor in load_file(checkpoint / _OPTIMIZER).items():
        name, _, field = key.rpartition("/")
        optimizer.setdefault(name, {})[field] = tensor
    return optimizer


def _free_name(checkpoints: Path, step: int) -> str:
    """A folder's name that nothing has; names sort as they were given for growing steps."""
    for number in itertools.count(1):
        name = f"step-{step:08}" + (f"-{number:03}" if number > 1 else "")
        if not (checkpoints / name).exists() and not (checkpoints / f".{name}").exists():
            return name
    raise AssertionError


def _write(path: Path, snapshot: Snapshot) -> None:
    save_file({key: plain(tensor) for key, tensor in snapshot.weights.items()}, path / MODEL)
    tensors, numbers = {}, {}
    for name, values in snapshot.optimizer.items():
        tensors |= {f"{name}/{key}": plain(value) for key, value in values.items() if isinstance(value, torch.Tensor)}
        numbers[name] = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
    save_file(tensors, path / _OPTIMIZER)
    trainer = msgspec.structs.replace(snapshot.trainer, numbers=numbers)
    (path / _TRAINER).write_bytes(msgspec.json.encode(trainer))
    (path / _SUMS).write_text("".join(f"{_digest(path / name)}  {name}\n" for name in _FILES))
    for name in (*_FILES, _SUMS):
        with (path / name).open("rb") as written:
            os.fsync(written.fileno())
    sync_folder(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the processor, contiguous, and no view of another tensor, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()
