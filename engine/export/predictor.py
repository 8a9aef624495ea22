"""Loads trained networks for prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from engine.data.loaders import Normalize
from engine.evaluation.load_run import load_trained_run
from engine.models.preprocessing import Preprocessing
from engine.runs.folder import RunFolder
from engine.system.devices import choose_device

ComputeLogits = Callable[[torch.Tensor], torch.Tensor]
"""uint8 images (N, C, S, S) → float32 logits (N, classes)."""


@dataclass(frozen=True)
class Predictor:
    """A loaded network with the classes and the preprocessing that it was trained with."""

    classes: list[str]
    preprocessing: Preprocessing
    compute_logits: ComputeLogits


class FromPixels(nn.Module):
    """A network that takes uint8 images: it normalizes them itself."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self._normalize = Normalize(preprocessing, device)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map uint8 images (N, C, S, S) to float32 logits (N, classes)."""
        return self.network(self._normalize(images))


def logits_function(module: nn.Module, preprocessing: Preprocessing, device: torch.device) -> ComputeLogits:
    """Move ``module`` to ``device``, set it to eval mode, and return the function that computes its logits."""
    module.eval().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    from_pixels = FromPixels(module, preprocessing, device)

    def compute_logits(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return from_pixels(images).float().cpu()

    return compute_logits


def open_run(folder: RunFolder) -> Predictor:
    """Load a run's network for prediction. Raises InputError."""
    trained = load_trained_run(folder)
    preprocessing = trained.classifier.preprocessing
    compute_logits = logits_function(trained.classifier.module, preprocessing, choose_device("auto"))
    return Predictor(trained.classes, preprocessing, compute_logits)
