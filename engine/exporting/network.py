"""The trained network of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine.config import RunConfig, from_tables
from engine.data.loaders import Normalize
from engine.environment import choose_device
from engine.errors import InputError, first_line
from engine.models import zoo
from engine.models.architecture import Preprocessing
from engine.rundir import EventTail, RunFolder
from engine.state import RunState, fold_all
from engine.training import checkpoints

Answer = Callable[[torch.Tensor], torch.Tensor]
"""uint8 RGB pictures (N, 3, S, S) → logits (N, classes) in fp32."""


@dataclass(frozen=True)
class Trained:
    """A run's network with the weights of its ``best`` epoch, or else of its last checkpoint.

    ``checkpoint`` names the folder they come from; ``config`` is what was in force then.
    """

    folder: RunFolder
    state: RunState
    config: RunConfig
    classes: list[str]
    classifier: zoo.Classifier
    checkpoint: str
    best: bool


@dataclass(frozen=True)
class Opened:
    """A network that is ready to answer."""

    classes: list[str]
    preprocessing: Preprocessing
    answer: Answer


class FromPixels(nn.Module):
    """A network that takes pictures as bytes: mean and standard deviation are part of it."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self._normalize = Normalize(preprocessing, device)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 3, S, S) → logits (N, classes) in fp32"""
        return self.network(self._normalize(pictures))


def answer_with(module: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Answer:
    """``module``, on ``device`` and in eval mode, as it answers to pictures."""
    module.eval().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    from_pixels = FromPixels(module, preprocessing, device)

    def answer(pictures: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return from_pixels(pictures).float().cpu()

    return answer


def load_trained(folder: RunFolder) -> Trained:
    """The network of a run that has a checkpoint, also of one that still trains. Raises InputError."""
    state = fold_all(EventTail(folder, steps=False).poll())
    if state.data is None:
        raise InputError(f"run {folder.id} has not read its data yet; wait for its first checkpoint")
    classes = state.data.classes
    checkpoint, best = _sound_checkpoint(folder)
    try:
        config = from_tables(checkpoints.load_trainer(checkpoint).settings)
        classifier = zoo.build(config.model.name, len(classes), config.head, config.data.image_size)
        checkpoints.load_weights(checkpoint, classifier.module)
    except InputError:
        raise
    except Exception as error:  # torch, safetensors and msgspec have errors of their own for what does not fit
        raise InputError(f"{checkpoint}: is no checkpoint of this run ({first_line(error)}); train it anew") from None
    classifier.module.eval()
    return Trained(folder, state, config, classes, classifier, checkpoint.name, best)


def open_run(folder: RunFolder) -> Opened:
    """A run's network, ready to answer. Raises InputError."""
    trained = load_trained(folder)
    how = trained.classifier.preprocessing
    return Opened(trained.classes, how, answer_with(trained.classifier.module, how, choose_device("auto")))


def _sound_checkpoint(folder: RunFolder) -> tuple[Path, bool]:
    """The best checkpoint, or the last where that is damaged, and whether it is the best.

    Nothing is followed out of the run's folder. Raises InputError.
    """
    problem = "none was written yet; `tltui steer RUN checkpoint` asks for one"
    for link in (checkpoints.BEST, checkpoints.LAST):
        path = folder.checkpoints / (folder.checkpoints / link).resolve().name
        if folder.checkpoints.is_symlink() or path.is_symlink() or not path.is_dir():
            continue
        odd = any(file.is_symlink() or not file.is_file() for file in path.iterdir())
        problem = "it holds more than plain files" if odd else checkpoints.damage(path)
        if not problem:
            return path, link == checkpoints.BEST
    raise InputError(f"run {folder.id} has no checkpoint that can be used: {problem}")
