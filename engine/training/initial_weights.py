"""The weights with which a run begins, to measure how far training moves them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from engine.models.freezing import Freezing, sha256


class InitialWeights:
    """The initial values of all ``weights`` and batch ``statistics`` that have trained so far, by name.

    Tensors that never trained are not stored: they still have their initial values. ``known`` is False in a resumed
    run whose initial weights can't be reproduced. Nothing is stored then.
    """

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.weights: dict[str, torch.Tensor] = {}
        self.statistics: dict[str, torch.Tensor] = {}

    @classmethod
    def of_resumed(cls, state_dict: Mapping[str, torch.Tensor] | None, module: nn.Module) -> InitialWeights:
        """The initial values of a resumed run: entries of its initial ``state_dict``, if known, that have changed."""
        if state_dict is None:
            return cls(known=False)
        initial = cls()
        initial.weights = _changed(state_dict, module.named_parameters())
        initial.statistics = _changed(state_dict, module.named_buffers())
        return initial

    def record(self, freezing: Freezing) -> None:
        """Store the values of all tensors that train from now on for the first time."""
        if not self.known:
            return
        moving = {id(buffer) for layer in freezing.moving for buffer in layer.buffers(recurse=False)}
        buffers = {name: buffer for name, buffer in freezing.module.named_buffers() if id(buffer) in moving}
        for stored, current in ((self.weights, freezing.trainable), (self.statistics, buffers)):
            stored |= {name: tensor.detach().clone() for name, tensor in current.items() if name not in stored}


def _changed(
    state_dict: Mapping[str, torch.Tensor], tensors: Iterable[tuple[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The initial values of those ``tensors`` that differ from them, on the tensor's device."""
    changed = {}
    for name, tensor in tensors:
        if name in state_dict and not torch.equal(first := torch.empty_like(tensor).copy_(state_dict[name]), tensor):
            changed[name] = first
    return changed


def parameters_digest(module: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        digest.update(f"{name} {sha256(parameter.detach())}\n".encode())
    return digest.hexdigest()
