"""The settings that a learning-rate range test suggests."""

from __future__ import annotations

from engine.experiments.lr_range_test.curve import RangeTestResult

LR, FACTOR = "optimizer.lr", "optimizer.backbone_lr_factor"
_MAX_FACTOR = 100.0  # that the setting allows


def suggested_settings(found: RangeTestResult, lr: float) -> dict[str, float]:
    """The suggested changes by key. ``lr``: the head's current learning rate."""
    changes: dict[str, float] = {}
    if found.head and found.head.suggested:
        changes[LR] = lr = found.head.suggested
    if found.backbone and found.backbone.suggested:
        changes[FACTOR] = min(float(f"{found.backbone.suggested / lr:.1e}"), _MAX_FACTOR)
    return changes
