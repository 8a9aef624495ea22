"""LogME, a transferability score of features, and statistics of a pretrained classifier's predictions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engine.experiments.linear_probe.results import SourcePredictions

Matrix = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

_ROUNDS = 50  # the fixed point is reached within a dozen where there is one
_CONVERGED = 1e-4  # relative change of α/β
_TINY = 1e-12  # avoids division by zero for uninformative features


def logme(features: Matrix, labels: Labels) -> float:
    """Compute LogME: the log maximum evidence per image of a Bayesian linear model, mean over classes.

    The model maps features (N, D) to each class's indicator. Higher is better. LogME does not favour many features.

    You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", 2102.11005, with the
    fixed-point iteration of its extension (2110.10545).
    """
    values = features.astype(np.float64)
    values /= np.sqrt(np.mean(values**2)) or 1.0  # only the first iterations depend on the scale
    u, singular, _ = np.linalg.svd(values, full_matrices=False)
    squares = singular**2
    return float(np.mean([_evidence(u, squares, (labels == label).astype(float)) for label in np.unique(labels)]))


def _evidence(u: Matrix, squares: Matrix, target: Matrix) -> float:
    """The log evidence per image, maximized over α and β: weights are drawn from N(0, 1/α), noise from N(0, 1/β)."""
    count = len(target)
    inside = (u.T @ target) ** 2
    outside = max(float(target @ target - inside.sum()), 0.0)
    alpha = beta = ratio = 1.0  # ratio: α/β
    weights = residual = 0.0
    for _ in range(_ROUNDS):
        effective = float((squares / (squares + ratio)).sum())
        weights = float((squares * inside / (squares + ratio) ** 2).sum())
        residual = float((inside * (ratio / (squares + ratio)) ** 2).sum()) + outside
        alpha = effective / (weights + _TINY) + _TINY
        beta = (count - effective) / (residual + _TINY) + _TINY
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= _CONVERGED * before:
            break
    # Directions without features contribute nothing: α cancels between the terms.
    size = len(squares) * math.log(alpha) - float(np.log(alpha + beta * squares).sum())
    fit = count * math.log(beta) - beta * residual - alpha * weights - count * math.log(2 * math.pi)
    return (size + fit) / (2 * count)


class SourcePredictionsAccumulator:
    """Accumulates a pretrained classifier's predictions batch by batch."""

    def __init__(self) -> None:
        self._count = 0
        self._highest = 0.0
        self._entropy = 0.0
        self._sum: Matrix | float = 0.0

    def add(self, probabilities: Matrix) -> None:
        """Add one batch of probabilities (N, classes)."""
        self._count += len(probabilities)
        self._highest += float(probabilities.max(1).sum())
        self._entropy += float(_entropies(probabilities).sum())
        self._sum = self._sum + probabilities.sum(0, dtype=np.float64)

    def result(self) -> SourcePredictions | None:
        """The statistics over all batches; None without a batch."""
        if not isinstance(self._sum, np.ndarray):
            return None
        spread = float(_entropies(self._sum / self._count)) - self._entropy / self._count
        return SourcePredictions(len(self._sum), self._highest / self._count, math.exp(max(spread, 0.0)))


def _entropies(probabilities: Matrix) -> Matrix:
    return -(probabilities * np.log(np.maximum(probabilities, _TINY))).sum(-1)
