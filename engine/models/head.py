"""Replaces the classifier of a pretrained network."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

from engine.config.schema import HeadConfig


class DropoutLinear(nn.Linear):
    """``nn.Linear`` with dropout on its input.

    Its parameters have the names of ``nn.Linear``'s, so that a plain torchvision or timm model loads trained weights.
    """

    dropout: float = 0.0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)"""
        return super().forward(functional.dropout(input, self.dropout, self.training))


class DropoutConv2d(nn.Conv2d):
    """A 1×1 convolution with dropout on its input, for networks whose classifier is one."""

    dropout: float = 0.0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) → (N, out, H, W)"""
        return super().forward(functional.dropout(input, self.dropout, self.training))


def replace(module: nn.Module, paths: list[str], classes: int, config: HeadConfig) -> None:
    """Replace the classifier (the first of ``paths``) and the last layers of auxiliary heads (the others).

    A dropout layer directly before the classifier is turned off: the new head has its own.
    """
    classifier, *auxiliary = paths
    module.set_submodule(classifier, _new_classifier(module.get_submodule(classifier), classes, config))
    _silence_dropout_before(module, classifier)
    for path in auxiliary:
        module.set_submodule(path, _layer_like(module.get_submodule(path), None, classes, 0.0))


def _new_classifier(old: nn.Module, classes: int, config: HeadConfig) -> nn.Module:
    if not config.hidden:
        return _layer_like(old, None, classes, config.dropout)
    sizes = [None, *config.hidden]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_layer_like(old, inputs, outputs, config.dropout), nn.ReLU()]
    return nn.Sequential(*layers, _layer_like(old, config.hidden[-1], classes, config.dropout))


def _layer_like(old: nn.Module, inputs: int | None, outputs: int | None, dropout: float) -> nn.Module:
    """A random layer of the type of ``old``; None for ``inputs`` keeps its number of inputs."""
    assert outputs is not None
    bias = old.bias is not None
    layer: DropoutLinear | DropoutConv2d
    if isinstance(old, nn.Conv2d):
        layer = DropoutConv2d(inputs or old.in_channels, outputs, kernel_size=1, bias=bias)
    elif isinstance(old, nn.Linear):
        layer = DropoutLinear(inputs or old.in_features, outputs, bias=bias)
    else:
        raise TypeError(f"a classifier of type {type(old).__name__} can't be replaced")
    layer.dropout = dropout
    return layer


def _silence_dropout_before(module: nn.Module, path: str) -> None:
    parent_path, _, name = path.rpartition(".")
    parent = module.get_submodule(parent_path)
    if isinstance(parent, nn.Sequential) and name.isdigit() and int(name) > 0:
        before = parent[int(name) - 1]
        if isinstance(before, nn.Dropout):
            before.p = 0.0
