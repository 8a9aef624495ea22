"""Applies a freeze plan to a network and verifies that frozen tensors never change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import nn

from engine.config.freeze_rules import ModuleFacts, RuleMatcher, training_modes
from engine.models.layer_tree import keeps_batch_statistics, module_types
from engine.runs.events import FrozenProof, ParameterCounts


class FrozenState(msgspec.Struct):
    """The state of the verification, for a checkpoint.

    ``digests``: SHA-256 of every frozen tensor when it was frozen. ``checks``: how often they were compared.
    ``changed``: the names of tensors that differed.
    """

    digests: dict[str, str]
    checks: int
    changed: list[str]


class Freezing:
    """The freeze plan of a network.

    A frozen parameter has ``requires_grad`` off and no gradient. A layer with running statistics runs in evaluation
    mode where it is frozen, and always if ``norm_stats`` is "frozen". Dropout and stochastic depth run in evaluation
    mode inside a fully frozen subtree.
    """

    def __init__(self, module: nn.Module, head: list[str], norm_stats: str) -> None:
        self.module = module
        self._head = head
        self._norm_stats = norm_stats
        self._modes: dict[str, bool] = {}
        self.moving: list[Any] = []  # layers whose running statistics change in training
        self.digests: dict[str, str] = {}  # SHA-256 of every frozen tensor when it was frozen
        self._checks = 0
        self._changed: set[str] = set()

    def apply(self, rules: Sequence[str]) -> None:
        """Apply a freeze plan. Raises InputError, and changes nothing, for an invalid one."""
        modules = dict(self.module.named_modules())
        parameters = dict(self.module.named_parameters())
        decisions = RuleMatcher(module_types(self.module), parameters, self._head).decide(rules)
        for name, parameter in parameters.items():
            parameter.requires_grad_(decisions[name].trainable)
            if not decisions[name].trainable:
                parameter.grad = None  # an optimizer would still step on it
        self._modes = training_modes(self._module_facts(), decisions, self._norm_stats)
        self.moving = [layer for path, layer in modules.items() if keeps_batch_statistics(layer) and self._modes[path]]
        frozen = self.frozen()
        self.digests = {name: self.digests.get(name) or sha256(tensor) for name, tensor in frozen.items()}

    def adopt(self) -> bool:
        """Verify against the present values from now on. Returns whether any frozen tensor differs from before."""
        before = self.digests
        self.digests = {name: sha256(tensor) for name, tensor in self.frozen().items()}
        return self.digests != before

    def _module_facts(self) -> list[ModuleFacts]:
        """A parameter that several modules share has one name, and counts in each of them."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        return [
            ModuleFacts(path, [names[id(p)] for p in layer.parameters(recurse=False)], keeps_batch_statistics(layer))
            for path, layer in self.module.named_modules()
        ]

    def train_mode(self) -> None:
        """Put every layer in its mode for training. Call it before training and after each evaluation."""
        for path, layer in self.module.named_modules():
            layer.training = self._modes[path]

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The trainable parameters, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def counts(self) -> ParameterCounts:
        """Numbers of scalars; a shared tensor counts once."""
        total = sum(p.numel() for p in self.module.parameters())
        trainable = sum(p.numel() for p in self.trainable.values())
        return ParameterCounts(total=total, trainable=trainable, frozen=total - trainable)

    def verify(self) -> FrozenProof:
        """Compare every frozen parameter and buffer, bit for bit, with its value when it was frozen.

        ``digest`` of the result is a SHA-256 over the names and values of all of them.
        """
        frozen = self.frozen()
        combined = hashlib.sha256()
        for name in sorted(frozen):
            digest = sha256(frozen[name])
            if digest != self.digests[name]:
                self._changed.add(name)
            combined.update(f"{name} {digest}\n".encode())
        self._checks += 1
        return FrozenProof(
            tensors=len(frozen),
            values=sum(tensor.numel() for tensor in frozen.values()),
            checks=self._checks,
            digest=combined.hexdigest(),
            unchanged=not self._changed,
        )

    @property
    def state(self) -> FrozenState:
        """The state of the verification, for a checkpoint."""
        return FrozenState(digests=dict(self.digests), checks=self._checks, changed=sorted(self._changed))

    def restore(self, state: FrozenState) -> None:
        """Restore the state of the verification. The same tensors must be frozen as when it was saved."""
        self.digests, self._checks, self._changed = state.digests, state.checks, set(state.changed)

    def frozen(self) -> dict[str, torch.Tensor]:
        """Every parameter and buffer that must not change, by name."""
        frozen = {name: p.detach() for name, p in self.module.named_parameters() if not p.requires_grad}
        for path, layer in self.module.named_modules():
            if not (keeps_batch_statistics(layer) and self._modes[path]):
                prefix = f"{path}." if path else ""
                frozen |= {prefix + name: b for name, b in layer.named_buffers(recurse=False)}
        return frozen


def sha256(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's values, bit for bit."""
    content: Any = tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content).hexdigest()
