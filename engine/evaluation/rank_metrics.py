"""Metrics of ordered classes, from a confusion matrix in the order of the ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def mean_rank_error(confusion: Counts) -> float:
    """The mean distance of predicted and true rank; ``confusion[true, predicted]``: counts (K, K)."""
    return float((confusion * _distances(len(confusion))).sum() / confusion.sum())


def quadratic_kappa(confusion: Counts) -> float | None:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 is perfect, 0 chance level.

    None where all images have one class and it is predicted for all.
    """
    squared = _distances(len(confusion)) ** 2
    by_chance = np.outer(confusion.sum(1), confusion.sum(0)) / confusion.sum()
    expected = float((squared * by_chance).sum())
    return 1 - float((squared * confusion).sum()) / expected if expected else None


def _distances(ranks: int) -> Counts:
    at = np.arange(ranks)
    return np.abs(at[:, None] - at)
