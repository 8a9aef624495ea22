"""torchvision's image classifiers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from engine.errors import InputError, first_line
from engine.models.architecture import Architecture, Pretrained
from engine.models.preprocessing import Preprocessing
from engine.runs.progress import Report, watched_download

# Weight of each auxiliary classifier's loss: Szegedy et al. 2014 (1409.4842) for GoogLeNet, and what the
# PyTorch fine-tuning tutorial uses for Inception v3.
AUX_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}


def names() -> list[str]:
    """Every classifier's name, sorted."""
    return models.list_models(module=models)


def folder() -> Path:
    """torch's folder of downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def architecture(name: str) -> Architecture:
    """A network of ``names()``."""
    kinds: Any = models.get_model_weights(name)
    weights: models.WeightsEnum = kinds.DEFAULT
    preset = weights.transforms()
    return Architecture(
        build=functools.partial(_build, name),
        head_paths=_head_paths,
        preprocessing=Preprocessing(
            image_size=preset.crop_size[0],
            resize_size=preset.resize_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        ),
        pretrained=Pretrained(
            path=functools.partial(_path, weights),
            load=functools.partial(load_file, name, weights),
            accuracy=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
            parameters=weights.meta["num_params"],
        ),
        aux_weight=AUX_WEIGHTS.get(name, 0.0),
    )


def options(name: str, image_size: int, channels: int = 3) -> dict[str, object]:
    """The arguments of torchvision's builder with which the network is the one of the weights."""
    if name in AUX_WEIGHTS:
        # The weights were ported from TensorFlow and expect its input scaling, which the builders switch on only
        # when they load weights themselves. The slow truncated-normal initialization is for training from scratch.
        return {"aux_logits": True, "transform_input": channels == 3, "init_weights": False}
    return {"image_size": image_size} if name.startswith("vit_") else {}


def _build(name: str, image_size: int, channels: int = 3) -> nn.Module:
    module = models.get_model(name, weights=None, **options(name, image_size, channels))
    if channels != 3:
        path, layer = input_layer(module, channels)
        module.set_submodule(path, layer)
    return module


def input_layer(module: nn.Module, channels: int) -> tuple[str, nn.Conv2d]:
    """The path of a network's first convolution, and a random one for another number of input ``channels``."""
    path, first = next((path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d))
    size, stride, padding = cast(tuple[tuple[int, int], ...], (first.kernel_size, first.stride, first.padding))
    layer = nn.Conv2d(channels, first.out_channels, size, stride, padding, bias=first.bias is not None)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return path, layer


def _head_paths(module: nn.Module) -> list[str]:
    """The last layer of the classifier, then those of auxiliary heads, for all families."""
    paths = [
        path
        for path, layer in module.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == 1000)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == 1000)
    ]
    return [paths[-1], *paths[:-1]]


def _path(weights: models.WeightsEnum) -> Path:
    return folder() / Path(urlparse(weights.url).path).name


def load_file(name: str, weights: models.WeightsEnum, image_size: int, report: Report) -> dict[str, torch.Tensor]:
    path = _path(weights)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        total = int(weights.meta["_file_size"] * 2**20)
        try:
            with watched_download(path.parent, total, report):
                torch.hub.download_url_to_file(
                    weights.url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False
                )
        except (OSError, RuntimeError) as error:  # no network, or a file with the wrong hash
            raise InputError(
                f"the weights of {name} are not on this machine and can't be downloaded ({first_line(error)}); put "
                f'{path.name} into {path.parent}, or set model.weights to a file or to "none"'
            ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    if name.startswith("vit_"):
        patch = int(name.rsplit("_", 1)[-1])
        state = interpolate_embeddings(image_size, patch, state)
    return dict(state)
