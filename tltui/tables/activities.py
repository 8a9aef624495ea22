"""What a worker is doing, as people read it."""

from __future__ import annotations

ACTIVITIES = {
    "precision": "timing bf16 against fp32",
    "download": "downloading weights",
    "data": "reading images",
    "catch_up": "computing again what was told before",
    "validate": "validating",
    "evaluate": "evaluating",
    "checkpoint": "reading the checkpoint",
    "export": "exporting",
    "compare": "comparing",
    "runs": "reading runs",
    "predict": "predicting",
    "lr_find": "trying learning rates",
    "features": "looking at images",
    "probe": "fitting probes",
}
