"""What a worker is doing, in words for progress lines."""

from __future__ import annotations

ACTIVITIES = {
    "precision": "timing bf16 against fp32",
    "download": "downloading weights",
    "data": "reading images",
    "scan": "scanning images",
    "catch_up": "recomputing steps after the checkpoint",
    "validate": "validating",
    "evaluate": "evaluating",
    "checkpoint": "reading the checkpoint",
    "export": "exporting",
    "compare": "comparing",
    "runs": "reading runs",
    "predict": "predicting",
    "lr_find": "learning-rate range test",
    "features": "computing features",
    "probe": "fitting probes",
}
