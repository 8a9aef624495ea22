"""Where a network looked: Grad-CAM (Selvaraju et al. 2017, 1610.02391)."""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.errors import InputError


def grad_cam(module: nn.Module, layer: str, image: torch.Tensor, label: int) -> torch.Tensor:
    """Heat from 0 to 1, as large as the image (S, S): what raises the logit of class ``label`` in ``layer``.

    ``image``: normalized (1, 3, S, S). ``layer``: a path; "" for the last one whose output has places. The network
    is run in evaluation mode. Raises InputError for a layer whose output has no places to be hot.
    """
    module.eval()
    outputs: dict[str, torch.Tensor] = {}

    def keep(path: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and _places(output) is not None:
            outputs[path] = output

    wanted = {layer: module.get_submodule(layer)} if layer else dict(module.named_modules())
    handles = [
        one.register_forward_hook(lambda _m, _i, output, path=path: keep(path, output)) for path, one in wanted.items()
    ]
    try:
        logits = module(image.requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    if not outputs:
        raise InputError(f'the output of "{layer}" has no places in the image; choose a layer before the pooling')
    activation = outputs[layer] if layer else list(outputs.values())[-1]
    (gradient,) = torch.autograd.grad(logits[0, label], activation, allow_unused=True)
    if gradient is None:
        raise InputError(f'the answer does not depend on the output of "{layer}"; choose another layer')
    maps, slopes = _places(activation), _places(gradient)
    assert maps is not None
    assert slopes is not None
    heat = (slopes.mean((1, 2), keepdim=True) * maps).sum(0).clamp(min=0).detach().float()
    heat = nn.functional.interpolate(heat[None, None], image.shape[-2:], mode="bilinear")[0, 0]
    return heat / heat.max().clamp(min=1e-12)


def _places(output: torch.Tensor) -> torch.Tensor | None:
    """The first image's activations as (channels, height, width), None where they have no places.

    A transformer's tokens (N, tokens, channels) are laid out as the patches they come from, class tokens left out;
    some networks have their channels last.
    """
    if output.ndim == 4 and min(output.shape[2:]) > 1:
        last = output.shape[1] == output.shape[2] != output.shape[3]
        return output[0].permute(2, 0, 1) if last else output[0]
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        if side > 1 and output.shape[1] - side * side <= 2:
            patches = output[0, output.shape[1] - side * side :]
            return patches.reshape(side, side, -1).permute(2, 0, 1)
    return None
