"""Figures of a classifier on a split, from counts that do not grow with the data.

scikit-learn and SciPy take a second to import and are not needed before the end of a run.
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.evaluation.calibration import Calibration
from engine.evaluation.ranking import Scores, rank
from engine.runs.events import ClassMetrics


class Tally:
    """``confusion[true, predicted]`` counts images, ``in_top5`` those whose class is among the five likeliest;
    ``loss`` sums their cross-entropy."""

    def __init__(self, classes: int) -> None:
        self.confusion: npt.NDArray[np.int64] = np.zeros((classes, classes), dtype=np.int64)
        self.loss = 0.0
        self.in_top5 = 0
        self.scores = Scores(classes)
        self.calibration = Calibration()

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch: logits (N, classes), labels (N,)."""
        true = labels.cpu().numpy()
        np.add.at(self.confusion, (true, logits.argmax(1).cpu().numpy()), 1)
        self.loss += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        likeliest = logits.topk(min(5, logits.shape[1]), dim=1).indices
        self.in_top5 += int((likeliest == labels[:, None]).any(1).sum())
        if self.sound:
            probabilities = logits.softmax(1).cpu().numpy()
            self.scores.add(probabilities, true)
            self.calibration.add(probabilities, true)

    @property
    def sound(self) -> bool:
        """Whether all answers so far were finite; else their probabilities mean nothing."""
        return math.isfinite(self.loss)

    @property
    def count(self) -> int:
        """Images so far."""
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


def weighted_f1(classes: list[ClassMetrics]) -> float:
    """The mean of the classes' F1, each weighted by its images."""
    return fmean([one.f1 for one in classes], [one.support for one in classes])


def per_class(tally: Tally, classes: list[str]) -> list[ClassMetrics]:
    """Precision, recall and F1 of each class, 0 where a class was never predicted or never occurs; how well its
    probability ranks the images."""
    from sklearn.metrics import precision_recall_fscore_support

    true, predicted, weight = _as_weighted_pairs(tally)
    figures: Any = precision_recall_fscore_support(
        true,
        predicted,
        labels=range(len(classes)),
        sample_weight=weight,
        zero_division=0.0,  # pyright: ignore[reportArgumentType] (a number or a word)
    )
    ranks = [rank(ranking) for ranking in tally.scores.rankings()] if tally.sound else [None] * len(classes)
    return [
        ClassMetrics(label, float(p), float(r), float(f), int(s), *(ranked or (None, None)))
        for label, p, r, f, s, ranked in zip(classes, *figures, ranks, strict=True)
    ]


def _as_weighted_pairs(tally: Tally) -> tuple[npt.NDArray[np.int64], ...]:
    """The confusion matrix as scikit-learn's metrics take it: each cell once, weighted by its images."""
    true, predicted = np.nonzero(tally.confusion)
    return true, predicted, tally.confusion[true, predicted]
