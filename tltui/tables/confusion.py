"""The most frequent confusions of an evaluation."""

from __future__ import annotations

import heapq

from engine.runs.events import Evaluated

MAX_PAIRS = 200


def most_confused(evaluated: Evaluated, most: int = MAX_PAIRS) -> list[tuple[int, int, int]]:
    """The most frequent confusions as (images, true class, predicted class), most frequent first."""
    found = (
        (count, true, predicted)
        for true, row in enumerate(evaluated.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    )
    return heapq.nsmallest(most, found, key=lambda pair: (-pair[0], pair[1], pair[2]))
