"""timm's image classifiers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import InputError, first_line
from engine.models.architecture import Architecture, Pretrained
from engine.models.preprocessing import Preprocessing
from engine.runs.progress import Report, watched_download

_SOME = 1000
_RGB = 3
_AS_PRETRAINED: Mapping[str, Any] = {}


def names() -> list[str]:
    """Every model's name, sorted, without its pretrained tags."""
    import timm

    return timm.list_models()


def is_known(name: str) -> bool:
    """Whether timm can build ``name``, which may have a tag of its weights: ``resnet50.a1_in1k``."""
    import timm

    return timm.is_model(name)


def architecture(name: str, arguments: Mapping[str, Any] = _AS_PRETRAINED) -> Architecture:
    """A network that ``is_known``; ``arguments``: of ``timm.create_model``. Raises InputError for an unknown tag."""
    import timm.models

    base, _, tag = name.partition(".")
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        raise InputError(f'model.name = "timm/{name}": timm has no weights "{tag}" for {base}') from None
    settings = config.to_dict() if config else {}
    pretrained = Pretrained(path=functools.partial(_path, settings), load=functools.partial(_load, name, settings))
    has_weights = bool(settings.get("hf_hub_id") or settings.get("url"))
    return from_settings(name, settings, pretrained if has_weights else None, arguments)


def from_settings(
    name: str,
    settings: Mapping[str, Any],
    pretrained: Pretrained | None,
    arguments: Mapping[str, Any] = _AS_PRETRAINED,
) -> Architecture:
    """The network that ``timm.create_model`` builds by ``name`` and ``arguments``.

    ``settings``: timm's of its pretrained weights.
    """
    image_size = settings["input_size"][-1]
    # Networks trained without labels (DINOv2, masked autoencoders) come without a classifier to replace.
    options = network_arguments(arguments) | ({} if settings["num_classes"] else {"num_classes": _SOME})
    if settings["input_size"][0] != _RGB:  # its own number would win over the default
        options["in_chans"] = _RGB
    return Architecture(
        build=functools.partial(build, name, options=options),
        head_paths=functools.partial(_head_paths, settings.get("classifier") or ""),
        preprocessing=Preprocessing(
            image_size=image_size,
            resize_size=round(image_size / settings["crop_pct"]),
            mean=tuple(settings["mean"]),
            std=tuple(settings["std"]),
            interpolation="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        ),
        pretrained=pretrained,
    )


def network_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a stranger's ``arguments`` that only shape the network: none that loads a file."""
    import timm

    return {
        key: value for key, value in arguments.items() if key not in inspect.signature(timm.create_model).parameters
    }


def build(
    name: str,
    image_size: int,
    channels: int = 3,
    *,
    options: Mapping[str, Any] = _AS_PRETRAINED,
    pretrained: bool = False,
) -> nn.Module:
    """Build a network by its name in timm. ``options``: other arguments of ``timm.create_model``."""
    import timm

    arguments = dict(options) if channels == _RGB else {**options, "in_chans": channels}

    try:  # networks with position embeddings are built for one size; the others take any and lack the option
        return timm.create_model(name, pretrained=pretrained, img_size=image_size, **arguments)
    except TypeError:
        return timm.create_model(name, pretrained=pretrained, **arguments)


def _head_paths(classifier: str | tuple[str, ...], module: nn.Module) -> list[str]:
    wanted = (classifier,) if isinstance(classifier, str) else classifier
    present = {path for path, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    paths = [path for path in wanted if path and path in present]
    if not paths:
        raise InputError("this timm model has no classifier to replace; choose another (see `tltui models`)")
    return paths


def _path(settings: dict[str, Any]) -> Path:
    from huggingface_hub import constants, file_download

    if repository := settings.get("hf_hub_id"):
        cached = file_download.try_to_load_from_cache(repository, "model.safetensors")
        if isinstance(cached, str):
            return Path(cached)
        folder = file_download.repo_folder_name(repo_id=repository, repo_type="model")
        return Path(constants.HF_HUB_CACHE) / folder / "model.safetensors"
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(settings["url"]).name


def _load(name: str, settings: dict[str, Any], image_size: int, report: Report) -> dict[str, torch.Tensor]:
    path = _path(settings)
    try:
        # timm converts checkpoints for other sizes and from older layouts only while it builds a model.
        with watched_download(path.parent, 0, report):
            return build(name, image_size, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        wanted = f"model.safetensors of {settings['hf_hub_id']}" if settings.get("hf_hub_id") else path.name
        raise InputError(
            f"the weights of timm/{name} are not on this machine and can't be downloaded ({first_line(error)}); get "
            f'{wanted} and set model.weights to that file, or to "none"'
        ) from error
