"""Validation metrics for tasks that need all outputs at once, such as rankings and correlations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import torch

from engine.compute.task import LabelledOutputs, PredictionWriter, ValidationResult

_ROWS = 1000

Compute = Callable[[torch.Tensor, torch.Tensor], dict[str, float | None]]
"""Outputs (N, outputs) and encoded targets, on the CPU → metrics by name."""


class CollectedValidation:
    """Keeps all outputs on the CPU, and computes metrics from them at the end."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._loss = 0.0
        self._weight = 0.0
        self._batches: list[LabelledOutputs] = []

    def add(self, loss: torch.Tensor, weight: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss and that mean's divisor, outputs (N, outputs) and encoded targets."""
        mean, divisor = torch.stack([loss, weight]).tolist()
        self._loss += mean * divisor
        self._weight += divisor
        self._batches.append((outputs.cpu(), targets.cpu()))

    def result(self) -> ValidationResult:
        """The mean loss over all images, and the metrics."""
        return ValidationResult(self._loss / self._weight, self._compute(*joined(self._batches)))


def joined(batches: Iterable[LabelledOutputs]) -> LabelledOutputs:
    """All batches as one, on the CPU."""
    outputs, targets = zip(*((one.cpu(), other.cpu()) for one, other in batches), strict=True)
    return torch.cat(outputs), torch.cat(targets)


def write_predictions(
    predictions: PredictionWriter,
    paths: Iterable[str],
    true: Sequence[str],
    predicted: Sequence[str],
    values: torch.Tensor,
) -> None:
    """Write all predictions, a thousand rows at a time."""
    names = iter(paths)
    for start in range(0, len(values), _ROWS):
        part = slice(start, start + _ROWS)
        count = len(values[part])
        predictions.write(list(islice(names, count)), true[part], predicted[part], values[part])
