"""The rule for batches that are too small for batch norm."""

from __future__ import annotations

from engine.diagnosis.evidence import Evidence
from engine.diagnosis.finding import Finding, Remedy

_SMALL = 4


def small_batch(seen: Evidence) -> Finding | None:
    """Finds batch norms that update their running statistics from batches of four images or fewer.

    The error grows as the batch shrinks. ResNet-50 on ImageNet, by images per batch: 23.6 % at 32, 24.8 % at 8,
    27.3 % at 4, 34.7 % at 2 (Wu and He 2018, "Group Normalization", table 2).
    """
    last, size = seen.last, seen.config.train.batch_size
    if not last.batch_norms or size > _SMALL:
        return None
    frozen = Remedy("freeze batch statistics", {"freeze.norm_stats": "frozen"})
    larger = Remedy("use batches of 32", {"train.batch_size": 32})
    return Finding(
        "batch too small",
        f"{last.batch_norms} batch norms update their statistics from {size} images",
        larger if seen.config.model.weights == "none" else frozen,
    )
