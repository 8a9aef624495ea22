"""Figures of a classifier on a split, from counts that do not grow with the data.

scikit-learn and SciPy take a second to import and are not needed before the end of a run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.protocol import ClassMetrics


class Tally:
    """``confusion[true, predicted]`` counts pictures; ``loss`` sums their cross-entropy."""

    def __init__(self, classes: int) -> None:
        self.confusion: npt.NDArray[np.int64] = np.zeros((classes, classes), dtype=np.int64)
        self.loss = 0.0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch: logits (N, classes), labels (N,)."""
        pairs = (labels.cpu().numpy(), logits.argmax(1).cpu().numpy())
        np.add.at(self.confusion, pairs, 1)
        self.loss += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()

    @property
    def count(self) -> int:
        """Pictures so far."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Right answers so far."""
        return int(self.confusion.trace())


def accuracy_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson 1927; sound for small counts and shares near 0 or 1."""
    from scipy.stats import binomtest

    interval = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def balanced_accuracy(tally: Tally) -> float:
    """The mean of the classes' recalls, over the classes that occur."""
    from sklearn.metrics import balanced_accuracy_score

    true, predicted, weight = _as_weighted_pairs(tally)
    return float(balanced_accuracy_score(true, predicted, sample_weight=weight))


def per_class(tally: Tally, classes: list[str]) -> list[ClassMetrics]:
    """Precision, recall and F1 of each class; 0 where a class was never predicted or never occurs."""
    from sklearn.metrics import precision_recall_fscore_support

    true, predicted, weight = _as_weighted_pairs(tally)
    figures: Any = precision_recall_fscore_support(
        true,
        predicted,
        labels=range(len(classes)),
        sample_weight=weight,
        zero_division=0.0,  # pyright: ignore[reportArgumentType] (a number or a word)
    )
    return [
        ClassMetrics(label=label, precision=float(p), recall=float(r), f1=float(f), support=int(s))
        for label, p, r, f, s in zip(classes, *figures, strict=True)
    ]


def _as_weighted_pairs(tally: Tally) -> tuple[npt.NDArray[np.int64], ...]:
    """The confusion matrix as scikit-learn's metrics take it: each cell once, weighted by its pictures."""
    true, predicted = np.nonzero(tally.confusion)
    return true, predicted, tally.confusion[true, predicted]
