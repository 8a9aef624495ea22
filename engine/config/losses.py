"""The losses that train.loss takes, with their help. Each task in ``engine.config.tasks`` names its own."""

from __future__ import annotations

LOSSES = {
    "cross_entropy": "",
    "binary_cross_entropy": "per label",
}
