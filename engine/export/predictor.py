"""A network that is ready to answer to images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from engine.data.loaders import Normalize
from engine.evaluation.load_run import load_trained
from engine.models.architecture import Preprocessing
from engine.runs.folder import RunFolder
from engine.system.devices import choose_device

Answer = Callable[[torch.Tensor], torch.Tensor]
"""uint8 RGB images (N, 3, S, S) → logits (N, classes) in fp32."""


@dataclass(frozen=True)
class Opened:
    """A network that is ready to answer."""

    classes: list[str]
    preprocessing: Preprocessing
    answer: Answer


class FromPixels(nn.Module):
    """A network that takes images as bytes: mean and standard deviation are part of it."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self._normalize = Normalize(preprocessing, device)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 3, S, S) → logits (N, classes) in fp32"""
        return self.network(self._normalize(images))


def answer_with(module: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Answer:
    """``module``, on ``device`` and in eval mode, as it answers to images."""
    module.eval().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    from_pixels = FromPixels(module, preprocessing, device)

    def answer(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return from_pixels(images).float().cpu()

    return answer


def open_run(folder: RunFolder) -> Opened:
    """A run's network, ready to answer. Raises InputError."""
    trained = load_trained(folder)
    how = trained.classifier.preprocessing
    return Opened(trained.classes, how, answer_with(trained.classifier.module, how, choose_device("auto")))
