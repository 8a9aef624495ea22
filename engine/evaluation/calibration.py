"""Calibration: reliability bins and the expected calibration error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.evaluation.ranking import Floats
from engine.runs.events import ReliabilityBin

_BINS = 15


class Calibration:
    """Accuracy and mean confidence in 15 equal bins of confidence."""

    def __init__(self) -> None:
        self._count = np.zeros(_BINS, dtype=np.int64)
        self._confidence = np.zeros(_BINS)
        self._correct = np.zeros(_BINS)

    def add(self, probabilities: Floats, labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> None:
        """Add one batch: probabilities (N, classes), true and predicted classes (N,)."""
        confidence = np.take_along_axis(probabilities, predicted[:, None], 1)[:, 0].astype(np.float64)
        # Bins exclude their lower bound and include their upper bound, as in the paper.
        place = np.clip(np.ceil(confidence * _BINS).astype(np.intp) - 1, 0, _BINS - 1)
        np.add.at(self._count, place, 1)
        np.add.at(self._confidence, place, confidence)
        np.add.at(self._correct, place, predicted == labels)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017, 1706.04599), 0 to 1."""
        return float(np.abs(self._correct - self._confidence).sum() / self._count.sum())

    @property
    def bins(self) -> list[ReliabilityBin]:
        """The bins that hold images, by increasing confidence."""
        return [
            ReliabilityBin(count=int(count), confidence=float(confidence / count), accuracy=float(correct / count))
            for count, confidence, correct in zip(self._count, self._confidence, self._correct, strict=True)
            if count
        ]
