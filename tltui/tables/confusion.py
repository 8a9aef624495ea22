"""The matrix of an evaluation, confusions or co-occurrences, and its most frequent pairs of classes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from engine.runs.events import Evaluated

MAX_PAIRS = 200


@dataclass(frozen=True)
class LabelMatrix:
    """``counts[true][predicted]`` counts images, ``totals[true]`` all images of the true class. Empty: no matrix.

    ``is_confusion``: an image has one class, so that it is misclassified off the diagonal. Else the matrix counts
    co-occurrences: an image may have both labels.
    """

    counts: list[list[int]]
    totals: list[int]
    is_confusion: bool

    def share(self, true: int, predicted: int) -> float:
        """The share of the images of class ``true``, 0 to 1."""
        total = self.totals[true]
        return self.counts[true][predicted] / total if total else 0.0


def matrix_of(evaluated: Evaluated) -> LabelMatrix:
    """The confusion matrix of an evaluation; with several labels per image the co-occurrence matrix."""
    if evaluated.confusion:
        return LabelMatrix(evaluated.confusion, [sum(row) for row in evaluated.confusion], is_confusion=True)
    return LabelMatrix(evaluated.cooccurrence, [of.support for of in evaluated.per_class], is_confusion=False)


def most_confused(matrix: LabelMatrix, most: int = MAX_PAIRS) -> list[tuple[int, int, int]]:
    """The most frequent pairs of different classes as (images, true class, predicted class), most frequent first."""
    found = (
        (count, true, predicted)
        for true, row in enumerate(matrix.counts)
        for predicted, count in enumerate(row)
        if count and true != predicted
    )
    return heapq.nsmallest(most, found, key=lambda pair: (-pair[0], pair[1], pair[2]))
