"""What a model source provides for each network: builder, head, preprocessing, pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine.models.preprocessing import Preprocessing
from engine.runs.progress import Report


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
    """A network: ``build(image_size, channels)`` returns it with its original head and random weights.

    ``channels``: of its input images, 3 by default. ``head_paths(module)``: paths of the classifier and of the last
    layers of auxiliary heads. ``aux_weight``: weight of each auxiliary head's loss.
    """

    build: Callable[..., nn.Module]
    head_paths: Callable[[nn.Module], list[str]]
    preprocessing: Preprocessing
    pretrained: Pretrained | None
    aux_weight: float = 0.0
