"""Loss and metrics on the validation images after each epoch."""

from __future__ import annotations

from statistics import fmean

import torch

from engine.compute.loss import most_probable
from engine.compute.task import ValidationResult


class ValidationMetrics:
    """Sums over batches. They stay on the device until a metric is read."""

    def __init__(self, classes: int, device: torch.device, *, with_roc_auc: bool = False) -> None:
        """``with_roc_auc``: keep all probabilities, and rank the images by them at the end."""
        self._loss = 0.0
        self._weight = 0.0
        self._correct = torch.zeros(classes, dtype=torch.int64, device=device)
        self._images = torch.zeros_like(self._correct)
        self._predicted = torch.zeros_like(self._correct)
        self._label_ranks = torch.zeros((), dtype=torch.int64, device=device)
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] | None = [] if with_roc_auc else None

    def add(self, loss: torch.Tensor, weight: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss and its total class ``weight``, logits (N, classes), targets as the loss has."""
        labels = most_probable(targets)
        classes = len(self._images)
        predicted = logits.argmax(1)
        correct = predicted == labels
        mean, divisor = torch.stack([loss, weight]).tolist()
        self._loss += mean * divisor
        self._weight += divisor
        self._correct += torch.bincount(labels[correct], minlength=classes)
        self._images += torch.bincount(labels, minlength=classes)
        self._predicted += torch.bincount(predicted, minlength=classes)
        if self._kept is not None:
            self._kept.append((logits.softmax(1), labels))
        above = (logits > logits.gather(1, labels[:, None])).sum(1)
        self._label_ranks += (
            (above - 1).clamp(min=0).sum()
        )  # the prediction itself ranks above the label of every misclassified image

    def result(self) -> ValidationResult:
        """The metrics over all batches."""
        metrics: dict[str, float | None] = {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "label_rank": self.label_rank,
        }
        if self._kept is not None:
            probabilities, labels = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
            is_class = labels[:, None] == torch.arange(len(self._images), device=labels.device)
            metrics["roc_auc"] = roc_auc(probabilities, is_class)
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
    def macro_f1(self) -> float:
        """The mean F1 over all classes, from 0 to 1; 0 for a class that neither occurs nor is predicted."""
        return (2 * self._correct.double() / (self._images + self._predicted).clamp(min=1)).mean().item()

    @property
    def label_rank(self) -> float | None:
        """The mean rank of the label among the classes not predicted, over the misclassified images.

        From 0, the second most confident class, to 1, the least. None without mistakes, or with two classes.
        """
        mistakes = int((self._images - self._correct).sum())
        others = len(self._images) - 2
        return int(self._label_ranks) / mistakes / others if mistakes and others > 0 else None


def roc_auc(scores: torch.Tensor, is_class: torch.Tensor) -> float | None:
    """The area under the ROC curve of each class against the others, mean over the classes that have both.

    ``scores``: float (N, classes); ``is_class``: bool (N, classes). It is the rank-sum statistic of Mann and Whitney
    (1947); equal scores share their mean rank. None where no class has both, or a score is not finite.
    """
    if not scores.isfinite().all():
        return None
    areas = []
    for score, positive in zip(scores.unbind(1), is_class.unbind(1), strict=True):
        count, others = int(positive.sum()), int((~positive).sum())
        if count and others:
            order, own = score.sort().values, score[positive].contiguous()
            ranks = torch.searchsorted(order, own) + torch.searchsorted(order, own, right=True) + 1
            areas.append((ranks.double().sum().item() / 2 - count * (count + 1) / 2) / (count * others))
    return fmean(areas) if areas else None
