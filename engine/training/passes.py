"""A batch forward and backward, whole or in parts with the same result; and going back to before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from engine.models.structure import keeps_batch_statistics
from engine.training.criterion import Criterion, main_logits
from engine.training.feed import Batch
from engine.training.session import Session


class Before:
    """Batch statistics and random numbers as they were before a step, which may have to be done again."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        self._statistics = [buffer for layer in _moving(module) for buffer in layer.buffers(recurse=False)]
        self._values = torch._foreach_mul(self._statistics, 1) if self._statistics else []  # pyright: ignore[reportPrivateImportUsage]
        self._random = _random_state(device)

    def put_back(self) -> None:
        """Go back to before the step."""
        self.put_back_statistics()
        torch.set_rng_state(self._random[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._random[1], self._device)
        elif self._device.type == "mps":
            torch.mps.set_rng_state(self._random[1])

    def put_back_statistics(self) -> None:
        """Go back to the batch statistics of before, where those were finite: a step before may not have been."""
        for buffer, value in zip(self._statistics, self._values, strict=True):
            if value.isfinite().all():
                buffer.copy_(value)


def forward_backward(
    session: Session, batch: Batch, criterion: Criterion, parts: Sequence[slice]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch's mean loss and number of right answers; gradients are added to those that are there.

    In parts, each counts for what its pictures weigh in the loss, and batch statistics move as far as in one.
    """
    losses, correct = [], []
    whole = criterion.weight(batch.labels)
    with _statistics_shared(session.classifier.module, len(parts)):
        for part in parts:
            labels = batch.labels[part]
            with session.precision.autocast():
                outputs = session.split.suffix_train(*(tensor[part] for tensor in batch.inputs))
            loss = criterion(outputs, labels)
            if len(parts) > 1:
                loss = loss * (criterion.weight(labels) / whole)
            session.scaler.scale(loss).backward()
            losses.append(loss.detach())
            correct.append((main_logits(outputs).detach().argmax(1) == labels).sum())
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def fewest(module: nn.Module) -> int:
    """Pictures that a part must have: 2 where batch statistics move, which one picture has none of."""
    return 2 if _moving(module) else 1


def _moving(module: nn.Module) -> list[Any]:
    """The layers whose batch statistics move with each step."""
    return [layer for layer in module.modules() if layer.training and keeps_batch_statistics(layer)]


@contextmanager
def _statistics_shared(module: nn.Module, parts: int) -> Iterator[None]:
    """Let ``parts`` forward passes move running statistics as far as one: (1 - m) = (1 - m')ᵖᵃʳᵗˢ."""
    layers = _moving(module) if parts > 1 else []
    momenta = [layer.momentum for layer in layers]
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum and 1 - (1 - momentum) ** (1 / parts)
    try:
        yield
        for layer in layers:
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked -= parts - 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _random_state(device: torch.device) -> list[torch.Tensor]:
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        state.append(torch.mps.get_rng_state())
    return state
