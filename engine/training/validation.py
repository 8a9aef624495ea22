"""What is measured of a network after each epoch, on validation images."""

from __future__ import annotations

import torch

from engine.training.distributed import Ranks


class Validation:
    """Sums over batches, kept on the device: each figure is read once."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._loss = 0.0
        self._weight = 0.0
        self._right = torch.zeros(classes, dtype=torch.int64, device=device)
        self._images = torch.zeros_like(self._right)
        self._ranks = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, loss: torch.Tensor, weight: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """A batch: its mean loss, the ``weight`` that this was divided by, logits (N, classes), labels int64 (N,)."""
        classes = len(self._images)
        right = logits.argmax(1) == labels
        mean, divisor = torch.stack([loss, weight]).tolist()
        self._loss += mean * divisor
        self._weight += divisor
        self._right += torch.bincount(labels[right], minlength=classes)
        self._images += torch.bincount(labels, minlength=classes)
        above = (logits > logits.gather(1, labels[:, None])).sum(1)
        self._ranks += (above - 1).clamp(min=0).sum()  # the answer itself is above every label that was missed

    def share(self, ranks: Ranks) -> None:
        """Take over the sums of the first of several processes, which alone was given batches."""
        self._loss, self._weight = ranks.from_first(lambda: (self._loss, self._weight))
        ranks.share([self._right, self._images, self._ranks])

    @property
    def loss(self) -> float:
        """The mean over the images, each weighted as in the loss: the same for any batch size and order."""
        return self._loss / self._weight

    @property
    def accuracy(self) -> float:
        """The share of images that are right, of 1."""
        return int(self._right.sum()) / int(self._images.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the classes that have images of the share that is right, of 1."""
        there = self._images > 0
        return (self._right[there].double() / self._images[there]).mean().item()

    @property
    def label_rank(self) -> float | None:
        """Over the mistakes: the mean place of the label among the classes that were not answered, from 0, the second
        guess, to 1, the last. None where there is no mistake, or with two classes."""
        mistakes = int((self._images - self._right).sum())
        others = len(self._images) - 2
        return int(self._ranks) / mistakes / others if mistakes and others > 0 else None
