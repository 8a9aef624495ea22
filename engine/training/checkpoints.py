"""Checkpoints: a folder each, complete or not there; ``last`` and ``best`` are links to one of them."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import first_line
from engine.rundir import RunFolder, write_atomically
from engine.training.optimizers import NamedState

MODEL = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_TRAINER = "trainer.json"
_REST = 10  # times as long as writing one took the writer rests, so that it takes little from training


@dataclass(frozen=True)
class Snapshot:
    """A run as it was after ``step``: ``weights`` is the network's whole state dict, ``optimizer`` also remembers
    what is frozen for now. Nothing in it moves when training goes on."""

    epoch: int
    step: int
    settings: dict[str, Any]
    weights: dict[str, torch.Tensor]
    optimizer: NamedState


@dataclass(frozen=True)
class TrainerState:
    """What goes on with training besides the weights."""

    epoch: int
    step: int
    settings: dict[str, Any]
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

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._waiting: dict[str, Snapshot] = {}  # "best" and "last"
        self._busy = False
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
            written = _write_checkpoint(self._folder, snapshot, best=best)
            with self._changed:
                self._busy = False
                self._written.append(written)
                self._changed.notify_all()
                rest = _REST * (time.monotonic() - started)
                self._changed.wait_for(lambda: self._hurry, timeout=rest)


def _write_checkpoint(folder: RunFolder, snapshot: Snapshot, *, best: bool) -> Written:
    try:
        path = save(folder, snapshot, best=best)
        return Written(path, snapshot.epoch, snapshot.step, best)
    except Exception as error:  # safetensors has errors of its own for a full disk, and nobody else would see them
        return Written(folder.checkpoints, snapshot.epoch, snapshot.step, best, first_line(error))


def save(folder: RunFolder, snapshot: Snapshot, *, best: bool) -> Path:
    """Write a checkpoint and let ``last``, and if it is the best ``best``, name it. Older ones are removed,
    but for the best and the one before the last. Returns the path that names it. Raises OSError."""
    name = f"step-{snapshot.step:08}"
    final = folder.checkpoints / name
    if not final.exists():
        temporary = folder.checkpoints / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, mode=0o700)
        _write(temporary, snapshot)
        os.replace(temporary, final)
    before = folder.checkpoints / "last"
    keep = {name, before.resolve().name}
    _link(folder.checkpoints, "last", name)
    if best:
        _link(folder.checkpoints, "best", name)
    keep.add((folder.checkpoints / "best").resolve().name)
    for old in folder.checkpoints.glob("step-*"):
        if old.name not in keep:
            shutil.rmtree(old)
    return folder.checkpoints / ("best" if best else "last")


def load_weights(checkpoint: Path, module: nn.Module, *, leave: Container[str] = ()) -> None:
    """Put a checkpoint's weights and buffers into ``module``, but for those named in ``leave``."""
    weights = {name: tensor for name, tensor in load_file(checkpoint / MODEL).items() if name not in leave}
    module.load_state_dict(weights, strict=not leave)


def load_trainer(checkpoint: Path) -> TrainerState:
    """What ``save`` was given, but for the weights."""
    content = json.loads((checkpoint / _TRAINER).read_text())
    tensors = load_file(checkpoint / _OPTIMIZER)
    optimizer: NamedState = {name: dict(values) for name, values in content.pop("optimizer").items()}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        optimizer.setdefault(name, {})[field] = tensor
    return TrainerState(**content, optimizer=optimizer)


def _write(path: Path, snapshot: Snapshot) -> None:
    save_file({key: _plain(tensor) for key, tensor in snapshot.weights.items()}, path / MODEL)
    tensors, numbers = {}, {}
    for name, values in snapshot.optimizer.items():
        tensors |= {f"{name}/{key}": _plain(value) for key, value in values.items() if isinstance(value, torch.Tensor)}
        numbers[name] = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
    save_file(tensors, path / _OPTIMIZER)
    content = {
        "epoch": snapshot.epoch, "step": snapshot.step, "settings": snapshot.settings, "optimizer": numbers
    }  # fmt: skip
    write_atomically(path / _TRAINER, json.dumps(content).encode())
    for file in (path / MODEL, path / _OPTIMIZER):
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """On the processor, contiguous, and no view of another tensor, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _link(checkpoints: Path, name: str, target: str) -> None:
    temporary = checkpoints / f".{name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, checkpoints / name)
