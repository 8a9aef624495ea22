"""The interface of a task: what a network learns to predict, and how predictions are trained and evaluated.

Each module of ``engine.tasks`` implements it. The rooms below that one know this interface alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.config.choices import load_target
from engine.config.schema import TrainConfig
from engine.config.tasks import TASKS, TaskSpec
from engine.runs.events import Evaluated

Outputs = torch.Tensor | tuple[torch.Tensor, ...]
"""A network's outputs (N, outputs); in training mode also those of its auxiliary heads."""
LabelledOutputs = tuple[torch.Tensor, torch.Tensor]
"""One batch: float32 outputs (N, outputs) and encoded targets, int64 (N,) or float32 (N, K)."""


class Labelled(Protocol):
    """An image's target: ``label`` is a position in the classes; ``target`` holds numbers where the task has some."""

    @property
    def label(self) -> int: ...

    @property
    def target(self) -> tuple[float, ...]: ...


class Criterion(Protocol):
    """The loss of training."""

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar."""
        ...

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The divisor of a batch's mean loss, a scalar."""
        ...

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The number of correct predictions in a batch, a scalar."""
        ...


@dataclass(frozen=True)
class ValidationResult:
    """The mean loss over the validation images, and metrics by name; None where a metric is undefined."""

    loss: float
    metrics: dict[str, float | None]


class Validation(Protocol):
    """Accumulates metrics on the validation images after an epoch."""

    def add(self, loss: torch.Tensor, weight: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss and that mean's divisor, outputs (N, outputs) and encoded targets."""
        ...

    def result(self) -> ValidationResult:
        """The metrics over all batches."""
        ...


class PredictionWriter(Protocol):
    """Writes the rows of predictions.csv."""

    def write(self, paths: Sequence[str], true: Sequence[str], predicted: Sequence[str], values: torch.Tensor) -> None:
        """Write one batch; ``values``: float (N, classes), a probability or number per class."""
        ...


class Task(Protocol):
    """What a network learns to predict. ``spec`` describes it, also to programs without torch."""

    spec: TaskSpec

    @property
    def outputs(self) -> list[str]:
        """The names of the network's outputs, in order."""
        ...

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The targets of all images as the loss takes them: int64 (N,) or float32 (N, K)."""
        ...

    def criterion(self, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> Criterion:
        """The loss. ``targets``: of the training images, on the device. ``aux_weight``: of each auxiliary head."""
        ...

    def validation(self, device: torch.device) -> Validation:
        """Empty validation metrics."""
        ...

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
    ) -> Evaluated:
        """The metrics of a split; each prediction goes to ``predictions``. ``paths``: of the images, in order."""
        ...


def open_task(spec: TaskSpec) -> Task:
    """The task that ``spec`` describes."""
    return load_target(TASKS[spec.task].target)(spec)
