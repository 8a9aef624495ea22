"""What a model source provides for each network: builder, head, preprocessing, pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from engine.runs.progress import Report


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network, as for its pretrained weights.

    ``resize_size``: the shorter side of an image after resizing, in pixels. ``image_size``: side of the centre crop
    that the network takes. ``mean`` and ``std``: per RGB channel, for values in 0 … 1. ``interpolation``: "bilinear"
    or "bicubic".
    """

    image_size: int
    resize_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    def at(self, image_size: int) -> Preprocessing:
        """The same for another image size, with the same crop ratio; 0 keeps the size."""
        if not image_size:
            return self
        scaled = round(image_size * self.resize_size / self.image_size)
        return replace(self, image_size=image_size, resize_size=scaled)


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights: their file, and how to load them.

    ``load(image_size, report)`` returns a state dict for a network built for that size. It downloads the file to
    ``path()`` if it is not there, and raises InputError with the file's name where that fails.
    ``accuracy``: ImageNet top-1, 0 … 1; ``parameters``: of the network with its original head.
    """

    path: Callable[[], Path]
    load: Callable[[int, Report], dict[str, torch.Tensor]]
    accuracy: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A network: ``build(image_size)`` returns it with its original head and random weights.

    ``head_paths(module)``: paths of the classifier and of the last layers of auxiliary heads. ``aux_weight``: weight
    of each auxiliary head's loss.
    """

    build: Callable[[int], nn.Module]
    head_paths: Callable[[nn.Module], list[str]]
    preprocessing: Preprocessing
    pretrained: Pretrained | None
    aux_weight: float = 0.0
