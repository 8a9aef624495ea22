"""The settings of `tltui demo`."""

from __future__ import annotations

from collections.abc import Mapping

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables

# Digits differ from photographs: the last stages have to adapt, the first ones detect strokes already.
_DEMO = {
    "data": {"source": "digits", "image_size": 96},
    "model": {"name": "efficientnet_lite0"},
    "freeze": {
        "rules": [
            "freeze *",
            "train blocks.4",
            "train blocks.5",
            "train blocks.6",
            "train conv_head",
            "train bn2",
            "train head",
        ],
    },
    "optimizer": {"lr": 3e-3, "backbone_lr_factor": 0.3},
    "schedule": {"name": "onecycle"},
    "train": {"epochs": 8},
}


def demo_config(overrides: Mapping[str, str]) -> RunConfig:
    """EfficientNet-Lite0 with ImageNet weights on scikit-learn's digits, last stages trainable. Raises InputError."""
    return from_tables(_DEMO, overrides)
