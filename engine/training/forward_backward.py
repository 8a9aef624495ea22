"""A batch forward and backward, whole or in parts with the same result; and going back to before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from engine.compute.loss import Criterion, main_logits
from engine.models.freezing import Freezing
from engine.rng import restore_torch_rng_state, torch_state
from engine.training.feature_loader import Batch
from engine.training.session import Session
from engine.training.sync_layers import WholeBatch


class Before:
    """Batch statistics and random numbers as they were before a step, which may have to be done again."""

    def __init__(self, freezing: Freezing, device: torch.device) -> None:
        self._device = device
        self._statistics = [buffer for layer in freezing.moving for buffer in layer.buffers(recurse=False)]
        self._values = torch._foreach_mul(self._statistics, 1) if self._statistics else []  # pyright: ignore[reportPrivateImportUsage]
        self._random = torch_state(device)

    def put_back(self) -> None:
        """Go back to before the step."""
        self.put_back_statistics()
        restore_torch_rng_state(self._random, self._device)

    def put_back_statistics(self) -> None:
        """Go back to the batch statistics of before, where those were finite: a step before may not have been."""
        for buffer, value in zip(self._statistics, self._values, strict=True):
            if value.isfinite().all():
                buffer.copy_(value)


def forward_backward(
    session: Session, batch: Batch, criterion: Criterion, parts: Sequence[slice], *, together: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch's mean loss and number of right answers; gradients are added to those that are there.

    In parts, each counts for what its images weigh in the loss, and batch statistics move as far as in one. Of
    several processes each adds what its images give; ``together``: all do so now, and layers see the whole batch.
    """
    losses, correct = [], []
    whole = criterion.weight(batch.all_labels)
    with _statistics_shared(session.freezing, len(parts)):
        for part in parts:
            labels = batch.labels[part]
            with session.precision.autocast(), _in_whole(session, batch, part) if together else nullcontext():
                outputs = session.split.suffix_train(*(tensor[part] for tensor in batch.inputs))
            loss = criterion(outputs, labels)
            if len(labels) < len(batch.all_labels):
                loss = loss * (criterion.weight(labels) / whole)
            session.scaler.scale(loss).backward()
            losses.append(loss.detach())
            correct.append((main_logits(outputs).detach().argmax(1) == labels).sum())
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def _in_whole(session: Session, batch: Batch, part: slice) -> AbstractContextManager[object]:
    whole = batch.whole
    return WholeBatch(session.ranks, whole.rows[part], len(whole.labels)) if whole else nullcontext()


def fewest(freezing: Freezing) -> int:
    """Images that a part must have: 2 where batch statistics move, which one image has none of."""
    return 2 if freezing.moving else 1


@contextmanager
def _statistics_shared(freezing: Freezing, parts: int) -> Iterator[None]:
    """Let ``parts`` forward passes move running statistics as far as one: (1 - m) = (1 - m')ᵖᵃʳᵗˢ."""
    layers = freezing.moving if parts > 1 else []
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
