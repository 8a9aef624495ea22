"""Which settings a range test suggests."""

from __future__ import annotations

from engine.experiments.lr_range_test.curve import RangeTestResult

LR, FACTOR = "optimizer.lr", "optimizer.backbone_lr_factor"
_LARGEST_FACTOR = 100.0  # that the setting takes


def suggested_settings(found: RangeTestResult, lr: float) -> dict[str, float]:
    """What to change, by key; nothing for what has no suggestion. ``lr``: the head's rate as it is."""
    changes: dict[str, float] = {}
    if found.head and found.head.suggested:
        changes[LR] = lr = found.head.suggested
    if found.backbone and found.backbone.suggested:
        changes[FACTOR] = min(float(f"{found.backbone.suggested / lr:.1e}"), _LARGEST_FACTOR)
    return changes
