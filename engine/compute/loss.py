"""The loss of training: cross-entropy with label smoothing and class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from engine.compute.task import Outputs


class CrossEntropy:
    """Cross-entropy with label smoothing and class weights; the loss of auxiliary heads counts ``aux_weight``."""

    def __init__(self, class_weights: torch.Tensor | None, label_smoothing: float, aux_weight: float) -> None:
        self._class_weights = class_weights
        self._label_smoothing = label_smoothing
        self._aux_weight = aux_weight

    def __call__(self, outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, an fp32 scalar; ``labels``: int64 (N,)."""
        return with_auxiliary(outputs, self._aux_weight, lambda logits: self._cross_entropy(logits, labels))

    def weight(self, labels: torch.Tensor) -> torch.Tensor:
        """The divisor of a batch's mean loss, a scalar: its number of images, or the sum of their class weights."""
        if self._class_weights is None:
            return torch.tensor(float(len(labels)), device=labels.device)
        return self._class_weights[labels].sum()

    def correct(self, outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
        """The number of correct predictions in a batch, an int64 scalar."""
        return (main_logits(outputs).detach().argmax(1) == labels).sum()

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(
            logits.float(), labels, weight=self._class_weights, label_smoothing=self._label_smoothing
        )


def with_auxiliary(outputs: Outputs, aux_weight: float, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The ``loss`` of the main head, plus ``aux_weight`` times that of each auxiliary head."""
    main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    total = loss(main)
    for other in auxiliary:
        total = total + aux_weight * loss(other)
    return total


def main_logits(outputs: Outputs) -> torch.Tensor:
    """The logits (N, classes) of the main head."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def balanced_weights(counts: Sequence[int]) -> torch.Tensor:
    """Class weights inverse to the number of images per class, with a mean of 1 over the images."""
    count = torch.tensor(counts, dtype=torch.float32)
    return count.sum() / (len(counts) * count)
