"""Counts and sums over a split's predictions, from which all metrics are computed.

Memory does not grow with the dataset.

scikit-learn and SciPy are imported where they are used: they take a second, and no run needs them before its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.compute.loss import most_probable
from engine.evaluation.calibration import Calibration
from engine.evaluation.rank_metrics import mean_rank_error, quadratic_kappa
from engine.evaluation.ranking import Scores, roc_auc_and_average_precision
from engine.runs.events import ClassMetrics

TOP_K = 5


class MetricAccumulator:
    """Accumulates predictions batch by batch.

    ``confusion[true, predicted]`` counts images. ``loss_sum`` sums their cross-entropy. ``top5_correct`` counts images
    whose class is among the five most probable.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.confusion: npt.NDArray[np.int64] = np.zeros((len(classes), len(classes)), dtype=np.int64)
        self.loss_sum = 0.0
        self.top5_correct = 0
        self.scores = Scores(len(classes))
        self.calibration = Calibration()

    def add(self, logits: torch.Tensor, targets: torch.Tensor, predicted: torch.Tensor) -> None:
        """Add one batch: logits (N, classes), targets int64 (N,) or float32 (N, classes), predicted classes (N,)."""
        labels = most_probable(targets)
        true = labels.cpu().numpy()
        np.add.at(self.confusion, (true, predicted.cpu().numpy()), 1)
        self.loss_sum += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        top5 = logits.topk(min(TOP_K, logits.shape[1]), dim=1).indices
        self.top5_correct += int((top5 == labels[:, None]).any(1).sum())
        if self.is_finite:
            probabilities = logits.softmax(1).cpu().numpy()
            self.scores.add(probabilities, true)
            self.calibration.add(probabilities, true, predicted.cpu().numpy())

    @property
    def is_finite(self) -> bool:
        """Whether the loss of every image so far was finite; otherwise probabilities mean nothing."""
        return math.isfinite(self.loss_sum)

    @property
    def count(self) -> int:
        """The number of images."""
        return int(self.confusion.sum())

    @property
    def mae(self) -> float:
        """The mean distance of predicted and true class, in ranks."""
        return mean_rank_error(self.confusion)

    @property
    def quadratic_kappa(self) -> float | None:
        """The agreement of predicted and true ranks."""
        return quadratic_kappa(self.confusion)

    @property
    def correct(self) -> int:
        """The number of correct predictions."""
        return int(self.confusion.trace())

    @cached_property
    def per_class(self) -> list[ClassMetrics]:
        """Metrics of each class, after the last batch. Precision, recall and F1 are 0 where their denominator is."""
        from sklearn.metrics import precision_recall_fscore_support

        true, predicted, weight = self.weighted_pairs()
        scores: Any = precision_recall_fscore_support(
            true,
            predicted,
            labels=range(len(self.classes)),
            sample_weight=weight,
            zero_division=0.0,  # pyright: ignore[reportArgumentType] (a number or a word)
        )
        ranked = (
            [roc_auc_and_average_precision(ranking) for ranking in self.scores.rankings()]
            if self.is_finite
            else [None] * len(self.classes)
        )
        return [
            ClassMetrics(label, float(p), float(r), float(f), int(s), *(one or (None, None)))
            for label, p, r, f, s, one in zip(self.classes, *scores, ranked, strict=True)
        ]

    def weighted_pairs(self) -> tuple[npt.NDArray[np.int64], ...]:
        """The confusion matrix in scikit-learn's form: true and predicted class of each cell, and its count."""
        true, predicted = np.nonzero(self.confusion)
        return true, predicted, self.confusion[true, predicted]


def accuracy_interval(correct: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927), valid for small counts and proportions near 0 or 1."""
    from scipy.stats import binomtest

    interval = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
