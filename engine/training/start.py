"""What a run's weights were when it began, to say how far they have moved since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

from engine.models.freeze import sha256


class StartWeights:
    """The first values of all parameters that have trained so far, by name, each beside its parameter; those of others
    are the parameters themselves.

    ``known`` is False in a run that goes on where nobody can tell any more; then nothing is kept.
    """

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.weights: dict[str, torch.Tensor] = {}

    @classmethod
    def left_behind(cls, began_with: Mapping[str, torch.Tensor] | None, module: nn.Module) -> StartWeights:
        """Of a run that goes on: whatever in ``module`` is no more what it ``began_with``, if that is known."""
        if began_with is None:
            return cls(known=False)
        start = cls()
        for name, parameter in module.named_parameters():
            first = torch.empty_like(parameter, requires_grad=False).copy_(began_with[name])
            if not torch.equal(first, parameter):
                start.weights[name] = first
        return start

    def keep(self, trainable: Mapping[str, nn.Parameter]) -> None:
        """Remember what is going to train; what never trained before is still as it was at the start."""
        for name, parameter in trainable.items():
            if self.known and name not in self.weights:
                self.weights[name] = parameter.detach().clone()


def parameters_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter, by name."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def digest_of(module: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters."""
    whole = hashlib.sha256()
    for name, parameter in module.named_parameters():
        whole.update(f"{name} {sha256(parameter.detach())}\n".encode())
    return whole.hexdigest()
