"""The interface of a task: what a network learns to predict, and how predictions are trained and evaluated.

Each module of ``engine.tasks`` implements it. The rooms below that one know this interface alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import torch
from torch import nn

from engine.config.choices import load_target
from engine.config.schema import TrainConfig
from engine.config.tasks import TASKS, TaskSpec, loss_target
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


class Answer(msgspec.Struct, omit_defaults=True):
    """A prediction: the class, labels or numbers as text, and the probability of the class.

    ``top``: the five most probable classes with their probabilities. ``values``: a number per name.
    """

    label: str
    probability: float | None
    top: list[tuple[str, float]]
    values: dict[str, float] = {}


class Criterion(Protocol):
    """The loss of training."""

    def __call__(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar."""
        ...

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """The divisor of a batch's mean loss, a scalar."""
        ...

    def correct(self, outputs: Outputs, targets: torch.Tensor) -> torch.Tensor:
        """The sum of the training metric over a batch, a scalar: 1 for each correct prediction in most tasks."""
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


@dataclass(frozen=True)
class ExportedOutput:
    """The output of an exported network, and the code that a user needs with it.

    - ``name``: of the output; ``description``: its content, for the model card.
    - ``layer``: turns the network's outputs into the exported ones.
    - ``comparable``: turns exported outputs into probabilities or standardised numbers; ``compared``: one of them.
    - ``finish``: numpy code that turns the plain network's ``outputs`` into the exported ones; "" for none.
    - ``show``: Python code that prints the exported ``outputs`` of each image.
    """

    name: str
    description: str
    layer: nn.Module
    comparable: Callable[[torch.Tensor], torch.Tensor]
    compared: str
    finish: str
    show: str


class Task(Protocol):
    """What a network learns to predict. ``spec`` describes it, also to programs without torch."""

    spec: TaskSpec

    @property
    def outputs(self) -> list[str]:
        """The names of the network's outputs, in order."""
        ...

    def present(self, sample: Labelled) -> Sequence[int]:
        """The positions of the classes that an image shows; empty where the task has no classes."""
        ...

    def fitted(self, samples: Sequence[Labelled]) -> Task:
        """The task with what it takes from the training images, such as their mean."""
        ...

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        """The targets of all images as the loss takes them: int64 (N,) or float32 (N, K)."""
        ...

    def validation(self, device: torch.device, score: str) -> Validation:
        """Empty validation metrics. ``score``: makes an epoch the best; costly metrics can be left out otherwise."""
        ...

    def evaluate(
        self,
        split: str,
        batches: Iterable[LabelledOutputs],
        paths: Iterable[str],
        predictions: PredictionWriter | None = None,
        *,
        tune: bool = False,
    ) -> Evaluated:
        """The metrics of a split; each prediction goes to ``predictions``. ``paths``: of the images, in order.

        ``tune``: choose what depends on validation images, such as thresholds, on this split.
        """
        ...

    def tuned(self, evaluated: Evaluated) -> Task:
        """The task with what an evaluation has chosen."""
        ...

    def explained(self, outputs: torch.Tensor, at: int) -> torch.Tensor:
        """The scalar that Grad-CAM explains for the class at position ``at``; ``outputs``: (1, outputs)."""
        ...

    @property
    def exported(self) -> list[str]:
        """The names of the exported outputs, in order."""
        ...

    @property
    def export(self) -> ExportedOutput:
        """What an exported network returns."""
        ...

    def answers(self, outputs: torch.Tensor) -> list[Answer]:
        """The predictions for images; ``outputs``: of the exported network."""
        ...


def open_task(spec: TaskSpec) -> Task:
    """The task that ``spec`` describes."""
    return load_target(TASKS[spec.task].target)(spec)


def open_criterion(spec: TaskSpec, train: TrainConfig, targets: torch.Tensor, aux_weight: float) -> Criterion:
    """The loss that train.loss names. ``targets``: of the training images, on the device.

    ``aux_weight``: of the loss of each auxiliary head.
    """
    return load_target(loss_target(spec.task, train.loss))(spec, train, targets, aux_weight)
