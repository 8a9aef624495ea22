"""How far the confidence can be believed: reliability bins and the expected calibration error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.evaluation.ranking import Floats
from engine.runs.events import ReliabilityBin

_CALIBRATION_BINS = 15


class Calibration:
    """How often answers of some confidence are right, in equal bins of confidence."""

    def __init__(self) -> None:
        self._count = np.zeros(_CALIBRATION_BINS, dtype=np.int64)
        self._confidence = np.zeros(_CALIBRATION_BINS)
        self._right = np.zeros(_CALIBRATION_BINS)

    def add(self, probabilities: Floats, labels: npt.NDArray[np.int64]) -> None:
        """One batch: probabilities (N, classes), labels (N,)."""
        confidence = probabilities.max(1).astype(np.float64)
        # Each bin has its upper end and not its lower one, as in the paper.
        place = np.clip(np.ceil(confidence * _CALIBRATION_BINS).astype(np.intp) - 1, 0, _CALIBRATION_BINS - 1)
        np.add.at(self._count, place, 1)
        np.add.at(self._confidence, place, confidence)
        np.add.at(self._right, place, probabilities.argmax(1) == labels)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017, On Calibration of Modern Neural Networks), 0 to 1."""
        return float(np.abs(self._right - self._confidence).sum() / self._count.sum())

    @property
    def bins(self) -> list[ReliabilityBin]:
        """Those that hold images, by rising confidence."""
        return [
            ReliabilityBin(count=int(count), confidence=float(confidence / count), accuracy=float(right / count))
            for count, confidence, right in zip(self._count, self._confidence, self._right, strict=True)
            if count
        ]
