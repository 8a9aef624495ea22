"""What a run's weights were when it began, to say how far they have moved since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from engine.models.freezing import Freezing, sha256


class StartWeights:
    """The first values of all that has trained so far, by name, each beside what it is now: of ``weights``, and of the
    ``statistics`` of batches. What never trained is itself what it was.

    ``known`` is False in a run that goes on where nobody can tell any more; then nothing is kept.
    """

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.weights: dict[str, torch.Tensor] = {}
        self.statistics: dict[str, torch.Tensor] = {}

    @classmethod
    def left_behind(cls, began_with: Mapping[str, torch.Tensor] | None, module: nn.Module) -> StartWeights:
        """Of a run that goes on: whatever in ``module`` is no more what it ``began_with``, if that is known."""
        if began_with is None:
            return cls(known=False)
        start = cls()
        start.weights = _others(began_with, module.named_parameters())
        start.statistics = _others(began_with, module.named_buffers())
        return start

    def keep(self, freezing: Freezing) -> None:
        """Remember what is going to move; what never did before is still as it was at the start."""
        if not self.known:
            return
        moving = {id(buffer) for layer in freezing.moving for buffer in layer.buffers(recurse=False)}
        buffers = {name: buffer for name, buffer in freezing.module.named_buffers() if id(buffer) in moving}
        for kept, now in ((self.weights, freezing.trainable), (self.statistics, buffers)):
            kept |= {name: tensor.detach().clone() for name, tensor in now.items() if name not in kept}


def _others(
    began_with: Mapping[str, torch.Tensor], tensors: Iterable[tuple[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The first values of those of ``tensors`` that have others now."""
    found = {}
    for name, tensor in tensors:
        if name in began_with and not torch.equal(first := torch.empty_like(tensor).copy_(began_with[name]), tensor):
            found[name] = first
    return found


def digest_of(module: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters."""
    whole = hashlib.sha256()
    for name, parameter in module.named_parameters():
        whole.update(f"{name} {sha256(parameter.detach())}\n".encode())
    return whole.hexdigest()
