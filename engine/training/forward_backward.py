"""Forward and backward pass of a batch, at once or in parts with the same result, and the state before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from engine.compute.task import Criterion
from engine.models.freezing import Freezing
from engine.rng import restore_torch_rng_state, torch_state
from engine.training.feature_loader import Batch
from engine.training.session import Session
from engine.training.sync_layers import GlobalBatchMode


class PreStepState:
    """Batch statistics and random state before a step, to restore them if the step has to be repeated."""

    def __init__(self, freezing: Freezing, device: torch.device) -> None:
        self._device = device
        self._statistics = [buffer for layer in freezing.moving for buffer in layer.buffers(recurse=False)]
        self._values = torch._foreach_mul(self._statistics, 1) if self._statistics else []  # pyright: ignore[reportPrivateImportUsage]
        self._random = torch_state(device)

    def restore(self) -> None:
        """Restore batch statistics and random state."""
        self.restore_statistics()
        restore_torch_rng_state(self._random, self._device)

    def restore_statistics(self) -> None:
        """Restore the batch statistics that were finite; an earlier non-finite step may have changed the others."""
        for buffer, value in zip(self._statistics, self._values, strict=True):
            if value.isfinite().all():
                buffer.copy_(value)


def forward_backward(
    session: Session, batch: Batch, criterion: Criterion, parts: Sequence[slice], *, synchronized: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Accumulate the batch's gradients. Returns its mean loss and its number of correct predictions.

    In several ``parts``, each part counts by the weight of its images in the loss, and running batch statistics move
    as far as in one pass. Each of several processes contributes the sums over its local batch. If ``synchronized``,
    all of them call this at once, and batch norm and dropout act on the global batch.
    """
    losses, correct = [], []
    total_weight = criterion.weight(batch.global_labels)
    with _scaled_momentum(session.freezing, len(parts)):
        for part in parts:
            labels = batch.labels[part]
            with session.precision.autocast(), _global_batch(session, batch, part) if synchronized else nullcontext():
                outputs = session.split.suffix_train(*(tensor[part] for tensor in batch.inputs))
            loss = criterion(outputs, labels)
            if len(labels) < len(batch.global_labels):
                loss = loss * (criterion.weight(labels) / total_weight)
            session.scaler.scale(loss).backward()
            losses.append(loss.detach())
            correct.append(criterion.correct(outputs, labels))
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def _global_batch(session: Session, batch: Batch, part: slice) -> AbstractContextManager[object]:
    if batch.global_batch is None:
        return nullcontext()
    of_all = next(
        of_all for local, of_all in batch.global_batch.micro_batches if local.start <= part.start < local.stop
    )
    positions = batch.global_batch.positions[part] - of_all.start
    return GlobalBatchMode(session.context.ranks, positions, of_all.stop - of_all.start)


def min_images(freezing: Freezing) -> int:
    """The smallest part of a batch: 2 images where batch norms train, since one image has no batch statistics."""
    return 2 if freezing.moving else 1


@contextmanager
def _scaled_momentum(freezing: Freezing, parts: int) -> Iterator[None]:
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
