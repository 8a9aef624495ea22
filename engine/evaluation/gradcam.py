"""Grad-CAM (Selvaraju et al. 2017, 1610.02391): which parts of an image raise a class's logit."""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.compute.task import Task
from engine.errors import InputError


def grad_cam(module: nn.Module, layer: str, image: torch.Tensor, label: int, task: Task | None = None) -> torch.Tensor:
    """Compute the heat map (S, S), from 0 to 1, of class ``label`` at ``layer``.

    ``task`` says which output stands for the class; None: the one at ``label``.

    ``image``: normalized (1, 3, S, S). ``layer``: a path; "" for the last layer whose output is spatial. Sets the
    network to eval mode. Raises InputError for a layer whose output is not spatial.
    """
    module.eval()
    outputs: dict[str, torch.Tensor] = {}

    def store(path: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and _feature_maps(output) is not None:
            outputs[path] = output

    hooked = {layer: module.get_submodule(layer)} if layer else dict(module.named_modules())
    handles = [
        one.register_forward_hook(lambda _m, _i, output, path=path: store(path, output)) for path, one in hooked.items()
    ]
    try:
        logits = module(image.requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    if not outputs:
        raise InputError(f'the output of "{layer}" is not spatial; choose a layer before the pooling')
    activation = outputs[layer] if layer else list(outputs.values())[-1]
    (gradient,) = torch.autograd.grad(
        task.explained(logits, label) if task else logits[0, label], activation, allow_unused=True
    )
    if gradient is None:
        raise InputError(f'the logits do not depend on the output of "{layer}"; choose another layer')
    maps, gradients = _feature_maps(activation), _feature_maps(gradient)
    assert maps is not None
    assert gradients is not None
    heat = (gradients.mean((1, 2), keepdim=True) * maps).sum(0).clamp(min=0).detach().float()
    heat = nn.functional.interpolate(heat[None, None], image.shape[-2:], mode="bilinear")[0, 0]
    return heat / heat.max().clamp(min=1e-12)


def _feature_maps(output: torch.Tensor) -> torch.Tensor | None:
    """The first image's activations as (channels, height, width), None where they are not spatial.

    A transformer's tokens (N, tokens, channels) are arranged as the grid of their patches, without class tokens.
    Channels-last outputs are permuted.
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
