"""Loads trained networks for prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from engine.compute.task import Task
from engine.data.loaders import Normalize
from engine.evaluation.load_run import load_trained_run
from engine.models.preprocessing import Preprocessing
from engine.runs.folder import RunFolder
from engine.system.devices import choose_device

ComputeOutputs = Callable[[torch.Tensor], torch.Tensor]
"""uint8 images (N, C, S, S) → float32 outputs (N, outputs) as the task exports them."""


@dataclass(frozen=True)
class Predictor:
    """A loaded network with the task and the preprocessing that it was trained for."""

    task: Task
    preprocessing: Preprocessing
    compute_outputs: ComputeOutputs


class FromPixels(nn.Module):
    """A network that takes uint8 images, which it normalizes itself, and returns the outputs that the task exports."""

    def __init__(self, network: nn.Module, task: Task, preprocessing: Preprocessing, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.output = task.export.layer.to(device)
        self._normalize = Normalize(preprocessing, device)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map uint8 images (N, C, S, S) to float32 outputs (N, outputs)."""
        return self.output(self.network(self._normalize(images)))


def outputs_function(
    module: nn.Module, task: Task, preprocessing: Preprocessing, device: torch.device
) -> ComputeOutputs:
    """Move ``module`` to ``device``, set it to eval mode, and return the function that computes its outputs."""
    module.eval().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    from_pixels = FromPixels(module, task, preprocessing, device)

    def compute_outputs(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return from_pixels(images).float().cpu()

    return compute_outputs


def open_run(folder: RunFolder) -> Predictor:
    """Load a run's network for prediction. Raises InputError."""
    trained = load_trained_run(folder)
    preprocessing = trained.classifier.preprocessing
    module, device = trained.classifier.module, choose_device("auto")
    return Predictor(trained.task, preprocessing, outputs_function(module, trained.task, preprocessing, device))
