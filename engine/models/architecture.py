"""What every source of networks tells about one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from engine.runs.progress import Report


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network, as its pretrained weights were.

    ``image_size``: side in pixels of what the network sees, a centre crop of an image whose shorter side was
    resized to ``resize_size``; ``mean`` and ``std`` per RGB channel of values in 0 … 1; ``interpolation`` is
    "bilinear" or "bicubic".
    """

    image_size: int
    resize_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    def at(self, image_size: int) -> Preprocessing:
        """The same at another size, with the same share cropped; 0 keeps the size."""
        if not image_size:
            return self
        scaled = round(image_size * self.resize_size / self.image_size)
        return replace(self, image_size=image_size, resize_size=scaled)


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights: where they lie or would lie, and how they are had.

    ``load`` returns a state dict that fits a network built for the given image size, from disk, or downloaded to
    ``path()`` first, with progress. It raises InputError with the file wanted where neither works.
    """

    path: Callable[[], Path]
    load: Callable[[int, Report], dict[str, torch.Tensor]]
    accuracy: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A network: ``build(image_size)`` makes it with its original head and random weights."""

    build: Callable[[int], nn.Module]
    head_paths: Callable[[nn.Module], list[str]]
    preprocessing: Preprocessing
    pretrained: Pretrained | None
    aux_weight: float = 0.0
