"""A run's network as torchvision or timm builds it, without tltui."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from engine.config.model_names import is_hub_name
from engine.models import hub_source, pip_source, registry, torchvision_source
from engine.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class PlainNetwork:
    """``module``: the network with random weights. ``code``: the Python that builds it after ``import library``."""

    library: str
    code: list[str]
    module: nn.Module


def plain_network(classifier: registry.Classifier, classes: int) -> PlainNetwork:
    """Build the network of ``classifier`` with its library, with the head of ``classifier``."""
    name = classifier.name
    preprocessing = classifier.preprocessing
    if name == pip_source.NAME:
        plain = _from_timm(pip_source.TIMM_NAME, classes, preprocessing)
    elif is_hub_name(name):
        config = hub_source.read_config(name)
        plain = _from_timm(config.base, classes, preprocessing, config.arguments)
    elif name.startswith(registry.TIMM_PREFIX):
        plain = _from_timm(name.removeprefix(registry.TIMM_PREFIX), classes, preprocessing)
    else:
        plain = _from_torchvision(name, classes, preprocessing)
    head = classifier.module.get_submodule(classifier.head[0])
    if isinstance(head, nn.Sequential):  # a head with hidden layers, which no library builds
        plain.module.set_submodule(classifier.head[0], nn.Sequential(*map(_plain_layer, head)))
        layers = ", ".join(map(_layer_code, head))
        plain.code.append(f'network.set_submodule("{classifier.head[0]}", torch.nn.Sequential({layers}))')
    return plain


def _from_torchvision(name: str, classes: int, preprocessing: Preprocessing) -> PlainNetwork:
    import torchvision

    as_pretrained = torchvision_source.options(name, preprocessing.image_size, preprocessing.channels)
    options: dict[str, Any] = {"weights": None, "num_classes": classes, **as_pretrained}
    module = torchvision.models.get_model(name, **options)
    code = [f"network = torchvision.models.get_model({_arguments(name, options)})"]
    if preprocessing.channels != 3:  # torchvision's builders take RGB alone
        path, layer = torchvision_source.input_layer(module, preprocessing.channels)
        module.set_submodule(path, layer)
        code += ["import torch", f'network.set_submodule("{path}", torch.nn.{layer!r})']
    return PlainNetwork("torchvision", code, module)


def _from_timm(
    name: str, classes: int, preprocessing: Preprocessing, arguments: Mapping[str, Any] | None = None
) -> PlainNetwork:
    import timm

    options: dict[str, Any] = {**(arguments or {}), "num_classes": classes, "img_size": preprocessing.image_size}
    if preprocessing.channels != 3:
        options["in_chans"] = preprocessing.channels
    try:
        module = timm.create_model(name, **options)
    except TypeError:  # most models take any image size and no such option
        del options["img_size"]
        module = timm.create_model(name, **options)
    return PlainNetwork("timm", [f"network = timm.create_model({_arguments(name, options)})"], module)


def _arguments(name: str, options: dict[str, Any]) -> str:
    return ", ".join([f'"{name}"', *(f"{key}={value!r}" for key, value in options.items())])


def _plain_layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=layer.bias is not None)
    return nn.ReLU()


def _layer_code(layer: nn.Module) -> str:
    bias = "" if getattr(layer, "bias", True) is not None else ", bias=False"
    if isinstance(layer, nn.Linear):
        return f"torch.nn.Linear({layer.in_features}, {layer.out_features}{bias})"
    if isinstance(layer, nn.Conv2d):
        return f"torch.nn.Conv2d({layer.in_channels}, {layer.out_channels}, 1{bias})"
    return "torch.nn.ReLU()"
