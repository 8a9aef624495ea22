"""Builds networks by name, from torchvision, timm, the Hugging Face Hub or the pip package."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from engine.config.model_names import is_hub_name
from engine.config.schema import HeadConfig
from engine.errors import InputError, first_line
from engine.models import head, hub_source, pip_source, timm_source, torchvision_source
from engine.models.architecture import Architecture
from engine.models.preprocessing import Preprocessing

TIMM_PREFIX = "timm/"
NO_ARGUMENTS: Mapping[str, Any] = {}


@dataclass
class Classifier:
    """A network with its new head.

    ``head``: paths of the new layers, the classifier first, then the last layers of auxiliary heads.
    ``aux_weight``: weight of each auxiliary head's loss. ``original_head``: "weight" and "bias" of the pretrained
    classifier, where the loaded weights have one. ``classes``: their names in the order of the outputs, where known.
    """

    name: str
    module: nn.Module
    head: list[str]
    aux_weight: float
    preprocessing: Preprocessing
    original_head: dict[str, torch.Tensor] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)


def architecture(name: str, arguments: Mapping[str, Any] = NO_ARGUMENTS) -> Architecture:
    """The network called ``name``; ``arguments`` of timm, for one of its networks.

    Raises InputError with the nearest names for an unknown one.
    """
    if name == pip_source.NAME:
        return pip_source.architecture()
    if is_hub_name(name):
        return hub_source.architecture(name)
    if name.startswith(TIMM_PREFIX):
        known = timm_source.names()
        if timm_source.is_known(name.removeprefix(TIMM_PREFIX)):
            return timm_source.architecture(name.removeprefix(TIMM_PREFIX), arguments)
        known = [TIMM_PREFIX + timm_name for timm_name in known]
    else:
        known = [*torchvision_source.names(), pip_source.NAME]
        if name in known:
            return torchvision_source.architecture(name)
        if timm_source.is_known(name):
            raise InputError(f'model.name = "{name}" is a timm model; write "{TIMM_PREFIX}{name}"')
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    raise InputError(f'model.name = "{name}" is not known; nearest: {", ".join(near) or "none"} (see `tltui models`)')


def portable_name(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the timm arguments that build the network of ``name`` without its config.json."""
    if not is_hub_name(name):
        return name, {}
    config = hub_source.read_config(name)
    return TIMM_PREFIX + config.base, config.arguments


def build(
    name: str,
    classes: int,
    head_config: HeadConfig,
    image_size: int = 0,
    channels: int = 3,
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
    *,
    on_meta: bool = False,
) -> Classifier:
    """Build a network with random weights and a new head of ``classes`` outputs.

    ``image_size``: side of the images in pixels, 0 for the size of the pretrained weights. ``channels``: of the
    images. ``arguments``: timm's, as ``portable_name`` returns them. ``on_meta``: parameters have shapes and no memory.

    Raises InputError for an unknown network, and for a size that it can't be built for.
    """
    found = architecture(name, arguments)
    preprocessing = found.preprocessing.at(image_size).with_channels(channels)
    size = preprocessing.image_size
    # Whether a tree is cached must not change the random numbers of a run's head.
    with torch.random.fork_rng(devices=[]) if on_meta else nullcontext():
        try:
            module = _without_memory(found.build, size, channels) if on_meta else found.build(size, channels)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise _unfit_size(name, size, error) from error
        paths = found.head_paths(module)
        head.replace(module, paths, classes, head_config)
    if on_meta:
        module = module.to("meta")
    return Classifier(name, module, paths, found.aux_weight, preprocessing)


def _without_memory(build: Callable[..., nn.Module], image_size: int, channels: int) -> nn.Module:
    try:
        with _ParametersOnMeta():
            return build(image_size, channels)
    except RuntimeError:  # a constructor that computes with its parameters
        return build(image_size, channels)


def check_image_size(classifier: Classifier) -> None:
    """Raises InputError where a network on the meta device can't run on images of its size."""
    preprocessing = classifier.preprocessing
    try:
        classifier.module.train()(torch.empty(2, *preprocessing.input_shape, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _unfit_size(classifier.name, preprocessing.image_size, error) from error


def _unfit_size(name: str, size: int, error: Exception) -> InputError:
    return InputError(
        f"{name} can't take images of {size} px ({first_line(error)}); change data.image_size, 0 means the "
        f"{architecture(name).preprocessing.image_size} px of its weights"
    )


class _ParametersOnMeta(TorchFunctionMode):
    """Allocates the parameters of modules on the meta device.

    ``torch.device("meta")`` would allocate everything there, but some constructors compute with small tensors
    (RegNet its widths, timm its stochastic depths).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
