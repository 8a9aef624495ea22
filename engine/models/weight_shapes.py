"""Adapts pretrained tensors to a network of another image size or another number of input channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from engine.models.weight_files import StateDict

Adapt = Callable[[nn.Module, str, torch.Tensor, torch.Tensor], torch.Tensor | None]
"""Takes a network, a name, the file's tensor and the network's; returns the adapted tensor, or None if it can't."""


def resample_positions(module: nn.Module, state: StateDict) -> StateDict:
    """Position embeddings and relative position bias tables of ``state``, interpolated to the network's image size."""
    return _adapted(module, state, _timm_positions, _torchvision_positions, _relative_positions)


def adapt_input_channels(module: nn.Module, state: StateDict) -> StateDict:
    """The first convolution's weights of ``state`` for the network's number of input channels, as timm adapts them.

    For one channel the weights are summed. For more channels they are repeated and rescaled, so that an image with
    equal channels has the same activations.
    """
    return _adapted(module, state, _input_convolution)


def _adapted(module: nn.Module, state: StateDict, *ways: Adapt) -> StateDict:
    found: StateDict = {}
    for name, own in module.state_dict().items():
        tensor = state.get(name)
        if tensor is None or tensor.shape == own.shape or not tensor.is_floating_point():
            continue
        adapted = next((result for way in ways if (result := way(module, name, tensor, own)) is not None), None)
        if adapted is not None and adapted.shape == own.shape:
            found[name] = adapted
    return found


def _input_convolution(module: nn.Module, name: str, tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    first = next((path for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d)), None)
    others_differ = tensor.ndim != 4 or tensor.shape[0] != own.shape[0] or tensor.shape[2:] != own.shape[2:]
    if name != f"{first}.weight" or others_differ or not tensor.shape[1]:
        return None
    channels, wanted = tensor.shape[1], own.shape[1]
    weights = tensor.float()
    if wanted == 1:
        return weights.sum(1, keepdim=True)
    return weights.repeat(1, math.ceil(wanted / channels), 1, 1)[:, :wanted] * (channels / wanted)


def _timm_positions(module: nn.Module, name: str, tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    """Of timm's vision transformers: (1, class tokens + grid cells, D)."""
    grid: Any = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if name != "pos_embed" or grid is None or tensor.ndim != 3 or own.ndim != 3:
        return None
    from timm.layers.pos_embed import resample_abs_pos_embed

    prefix = own.shape[1] - grid[0] * grid[1]
    if prefix < 0 or not _is_square(tensor.shape[1] - prefix):
        return None
    return resample_abs_pos_embed(tensor.float(), new_size=list(grid), num_prefix_tokens=prefix)


def _torchvision_positions(
    module: nn.Module, name: str, tensor: torch.Tensor, own: torch.Tensor
) -> torch.Tensor | None:
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    if not isinstance(module, VisionTransformer) or name != "encoder.pos_embedding" or tensor.ndim != own.ndim:
        return None
    if not _is_square(tensor.shape[1] - 1):
        return None
    state: Any = {name: tensor.float()}
    return interpolate_embeddings(module.image_size, module.patch_size, state)[name]


def _relative_positions(module: nn.Module, name: str, tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    """Of Swin, BEiT and MaxViT in timm: one table for each window attention."""
    path, _, last = name.rpartition(".")
    window: Any = getattr(module.get_submodule(path), "window_size", None)
    if last != "relative_position_bias_table" or window is None or tensor.ndim != own.ndim:
        return None
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    return resize_rel_pos_bias_table(tensor.float(), new_window_size=tuple(window), new_bias_shape=tuple(own.shape))


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count
