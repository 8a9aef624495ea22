"""How well probabilities rank images and how far one may believe them, in memory that does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


_EXACT_IMAGES = 200_000  # beyond these, or so many probabilities, they are counted in bins


_EXACT_VALUES = 4_000_000


_BIN_VALUES = 4_000_000  # bins of all classes together


_MOST_BINS = 16_384


_LARGEST_LOGIT = 17.0  # of a probability in float32 that is not 1


class Ranking(NamedTuple):
    """One class against the others: ``is_class`` (0 or 1), ``score`` and ``weight`` (images) of each entry."""

    is_class: npt.NDArray[np.int8]
    score: npt.NDArray[np.float64]
    weight: npt.NDArray[np.int64]


class Scores:
    """Probabilities by class. Exact while they are few; then each is one of many equal steps of its logit, which moves
    a ranking's figures by about the inverse of the number of steps."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._count = 0
        self._parts: list[tuple[Floats, npt.NDArray[np.int64]]] | None = []
        bins = max(64, min(_MOST_BINS, _BIN_VALUES // (2 * classes)))
        self._binned = np.zeros((0, 2, bins), dtype=np.int32)  # [class, is it this class, bin]; made when needed

    @property
    def exact(self) -> bool:
        """Whether every probability is still there as it was."""
        return self._parts is not None

    def add(self, probabilities: Floats, labels: npt.NDArray[np.int64]) -> None:
        """One batch: probabilities (N, classes), labels (N,)."""
        self._count += len(labels)
        if self._parts is not None:
            self._parts.append((probabilities, labels))
            if self._count <= _EXACT_IMAGES and self._count * self._classes <= _EXACT_VALUES:
                return
            parts, self._parts = self._parts, None
            self._binned = np.zeros((self._classes, *self._binned.shape[1:]), dtype=np.int32)
            for some in parts:
                self._count_in_bins(*some)
            return
        self._count_in_bins(probabilities, labels)

    def rankings(self) -> Iterator[Ranking]:
        """For each class in turn."""
        if self._parts is None:
            for of_class in self._binned:
                is_class, score = np.nonzero(of_class)
                yield Ranking(
                    is_class.astype(np.int8), score.astype(np.float64), of_class[is_class, score].astype(np.int64)
                )
            return
        labels = np.concatenate([labels for _, labels in self._parts])
        weight = np.ones(len(labels), dtype=np.int64)
        for label in range(self._classes):
            score = np.concatenate([probabilities[:, label] for probabilities, _ in self._parts])
            yield Ranking((labels == label).astype(np.int8), score.astype(np.float64), weight)

    def _count_in_bins(self, probabilities: Floats, labels: npt.NDArray[np.int64]) -> None:
        bins = self._binned.shape[2]
        tiny = np.finfo(np.float32).tiny
        logit = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(1 - probabilities, tiny))
        place = (np.clip(logit / _LARGEST_LOGIT, -1, 1) + 1) * (0.5 * (bins - 1))
        label_range = np.arange(self._classes)
        is_class = (labels[:, None] == label_range).astype(np.intp)
        np.add.at(self._binned, (label_range, is_class, place.round().astype(np.intp)), 1)


def rank(ranking: Ranking) -> tuple[float, float] | None:
    """The area under the ROC curve and the average precision; None where all images, or none, are of the class."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    is_class, score, weight = ranking
    if len(np.unique(is_class)) < 2:
        return None
    area = roc_auc_score(is_class, score, sample_weight=weight)
    return float(area), float(average_precision_score(is_class, score, sample_weight=weight))


def mean_of(figures: list[float]) -> float | None:
    """None where there is none."""
    return fmean(figures) if figures else None
