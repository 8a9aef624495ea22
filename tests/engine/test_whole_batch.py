"""Layers that see the whole batch from a part of it; here the part is the whole, so that plain layers are the measure.

That parts put together give the same is seen in test_distributed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from timm.layers.drop import drop_path
from torch import nn
from torchvision.ops import stochastic_depth

from engine.training.distributed import Ranks
from engine.training.sync_layers import GlobalBatchMode

SHAPES = {"features": (6, 5), "maps": (6, 5, 4, 3), "tokens": (6, 7, 5)}


def given(shape: tuple[int, ...]) -> torch.Tensor:
    torch.manual_seed(1)
    images = torch.randn(shape)
    if images.ndim == 4:
        images = images.to(memory_format=torch.channels_last)
    return images.requires_grad_()


def whole(count: int = 6) -> GlobalBatchMode:
    return GlobalBatchMode(Ranks(), torch.arange(count), count)


@pytest.mark.parametrize("shape", ["features", "maps"])
@pytest.mark.parametrize("lower", [False, True])
def test_batch_norm_over_local_batches_equals_batch_norm_over_the_global_batch(shape: str, lower: bool):
    def through(*, together: bool) -> list[torch.Tensor]:
        layer = nn.BatchNorm1d(5) if shape == "features" else nn.BatchNorm2d(5)
        images = given(SHAPES[shape])
        nn.init.uniform_(layer.weight)
        with whole() if together else nullcontext():
            outputs = layer(images.bfloat16() if lower else images)
        (outputs.float() ** 3).sum().backward()
        found = [outputs, images.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var]
        return [tensor.detach().float() for tensor in found if tensor is not None]

    for one, other in zip(through(together=False), through(together=True), strict=True):
        assert torch.allclose(one, other, rtol=5e-2 if lower else 1e-4, atol=1e-1 if lower else 1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "drop",
    [
        nn.Dropout(0.4),
        lambda images: drop_path(images, 0.4, training=True),
        lambda images: stochastic_depth(images, 0.4, "row"),
    ],
    ids=["dropout", "timm", "torchvision"],
)
def test_random_masks_are_those_of_the_global_batch(shape: str, drop: Callable[[torch.Tensor], torch.Tensor]):
    images = given(SHAPES[shape]).detach()
    torch.manual_seed(7)
    alone, after = drop(images), torch.rand(())
    for rows in (torch.arange(6), torch.tensor([1, 4]), torch.tensor([0, 2, 3, 5])):
        torch.manual_seed(7)
        with GlobalBatchMode(Ranks(), rows, 6):
            part = drop(images[rows])
        assert torch.equal(part, alone[rows])
        assert torch.rand(()) == after


def test_layers_in_evaluation_mode_are_not_synchronized():
    network = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5)).eval()
    images = given(SHAPES["features"])
    with whole():
        assert torch.equal(network(images), nn.Sequential(*network).eval()(images))
