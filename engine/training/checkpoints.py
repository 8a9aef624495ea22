"""Checkpoints: a folder each, complete or not there; ``last`` and ``best`` are links to one of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.rundir import RunFolder, write_atomically
from engine.training.optimizers import NamedState

MODEL = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_TRAINER = "trainer.json"


@dataclass
class TrainerState:
    """What goes on with training besides the weights; ``optimizer`` also holds the state of what is frozen for now."""

    epoch: int
    step: int
    settings: dict[str, Any]
    optimizer: NamedState


def save(folder: RunFolder, module: nn.Module, state: TrainerState, *, best: bool) -> Path:
    """Write a checkpoint and let ``last``, and if it is the best ``best``, name it. Older ones are removed,
    but for the best and the one before the last. Returns the path that names it."""
    name = f"step-{state.step:08}"
    final = folder.checkpoints / name
    if not final.exists():
        temporary = folder.checkpoints / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, mode=0o700)
        _write(temporary, module, state)
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


def _write(path: Path, module: nn.Module, state: TrainerState) -> None:
    save_file({key: _plain(tensor) for key, tensor in module.state_dict().items()}, path / MODEL)
    tensors, numbers = {}, {}
    for name, values in state.optimizer.items():
        tensors |= {f"{name}/{key}": _plain(value) for key, value in values.items() if isinstance(value, torch.Tensor)}
        numbers[name] = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
    save_file(tensors, path / _OPTIMIZER)
    content = {"epoch": state.epoch, "step": state.step, "settings": state.settings, "optimizer": numbers}
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
