"""Loss and metrics on the validation images after each epoch."""

from __future__ import annotations

import torch

from engine.compute.loss import most_probable
from engine.compute.task import ValidationResult


class ValidationMetrics:
    """Sums over batches. They stay on the device until a metric is read."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._loss = 0.0
        self._weight = 0.0
        self._correct = torch.zeros(classes, dtype=torch.int64, device=device)
        self._images = torch.zeros_like(self._correct)
        self._label_ranks = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, loss: torch.Tensor, weight: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss and its total class ``weight``, logits (N, classes), targets as the loss has."""
        labels = most_probable(targets)
        classes = len(self._images)
        correct = logits.argmax(1) == labels
        mean, divisor = torch.stack([loss, weight]).tolist()
        self._loss += mean * divisor
        self._weight += divisor
        self._correct += torch.bincount(labels[correct], minlength=classes)
        self._images += torch.bincount(labels, minlength=classes)
        above = (logits > logits.gather(1, labels[:, None])).sum(1)
        self._label_ranks += (
            (above - 1).clamp(min=0).sum()
        )  # the prediction itself ranks above the label of every misclassified image

    def result(self) -> ValidationResult:
        """The metrics over all batches."""
        metrics = {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "label_rank": self.label_rank,
        }
        return ValidationResult(self.loss, metrics)

    @property
    def loss(self) -> float:
        """The mean over the images, with their class weights. Independent of batch size and order."""
        return self._loss / self._weight

    @property
    def accuracy(self) -> float:
        """The fraction of correct images, from 0 to 1."""
        return int(self._correct.sum()) / int(self._images.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall over the classes that have images, from 0 to 1."""
        present = self._images > 0
        return (self._correct[present].double() / self._images[present]).mean().item()

    @property
    def label_rank(self) -> float | None:
        """The mean rank of the label among the classes not predicted, over the misclassified images.

        From 0, the second most confident class, to 1, the least. None without mistakes, or with two classes.
        """
        mistakes = int((self._images - self._correct).sum())
        others = len(self._images) - 2
        return int(self._label_ranks) / mistakes / others if mistakes and others > 0 else None
