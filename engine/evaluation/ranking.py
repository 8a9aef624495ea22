"""ROC-AUC and average precision of each class, in memory that does not grow with the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Above these numbers of images or probabilities, probabilities are binned.
_EXACT_IMAGES = 200_000
_EXACT_VALUES = 4_000_000
_BIN_VALUES = 4_000_000  # bins of all classes together
_MOST_BINS = 16_384
_LARGEST_LOGIT = 17.0  # of the largest float32 probability below 1


class Ranking(NamedTuple):
    """One class against the others: ``is_class`` (0 or 1), ``score`` and ``weight`` (images) of each entry."""

    is_class: npt.NDArray[np.int8]
    score: npt.NDArray[np.float64]
    weight: npt.NDArray[np.int64]


class Scores:
    """Probabilities of each class.

    They are exact while few. Then they are binned by logit, which changes the metrics by about 1 / bins.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._count = 0
        self._batches: list[tuple[Floats, npt.NDArray[np.int64]]] | None = []
        bins = max(64, min(_MOST_BINS, _BIN_VALUES // (2 * classes)))
        self._binned = np.zeros((0, 2, bins), dtype=np.int32)  # [class, is_class, bin]; allocated when needed

    @property
    def exact(self) -> bool:
        """Whether probabilities are exact, not binned."""
        return self._batches is not None

    def add(self, probabilities: Floats, labels: npt.NDArray[np.int64]) -> None:
        """Add one batch: probabilities (N, classes), labels (N,)."""
        self._count += len(labels)
        if self._batches is not None:
            self._batches.append((probabilities, labels))
            if self._count <= _EXACT_IMAGES and self._count * self._classes <= _EXACT_VALUES:
                return
            batches, self._batches = self._batches, None
            self._binned = np.zeros((self._classes, *self._binned.shape[1:]), dtype=np.int32)
            for batch in batches:
                self._count_in_bins(*batch)
            return
        self._count_in_bins(probabilities, labels)

    def rankings(self) -> Iterator[Ranking]:
        """Yield the ranking of each class, in order."""
        if self._batches is None:
            for of_class in self._binned:
                is_class, score = np.nonzero(of_class)
                yield Ranking(
                    is_class.astype(np.int8), score.astype(np.float64), of_class[is_class, score].astype(np.int64)
                )
            return
        labels = np.concatenate([labels for _, labels in self._batches])
        weight = np.ones(len(labels), dtype=np.int64)
        for label in range(self._classes):
            score = np.concatenate([probabilities[:, label] for probabilities, _ in self._batches])
            yield Ranking((labels == label).astype(np.int8), score.astype(np.float64), weight)

    def _count_in_bins(self, probabilities: Floats, labels: npt.NDArray[np.int64]) -> None:
        bins = self._binned.shape[2]
        tiny = np.finfo(np.float32).tiny
        logit = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(1 - probabilities, tiny))
        place = (np.clip(logit / _LARGEST_LOGIT, -1, 1) + 1) * (0.5 * (bins - 1))
        label_range = np.arange(self._classes)
        is_class = (labels[:, None] == label_range).astype(np.intp)
        np.add.at(self._binned, (label_range, is_class, place.round().astype(np.intp)), 1)


def roc_auc_and_average_precision(ranking: Ranking) -> tuple[float, float] | None:
    """Compute both metrics of one class against the others; None where all images, or none, are of the class."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    is_class, score, weight = ranking
    if len(np.unique(is_class)) < 2:
        return None
    roc_auc = roc_auc_score(is_class, score, sample_weight=weight)
    return float(roc_auc), float(average_precision_score(is_class, score, sample_weight=weight))
