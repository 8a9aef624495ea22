"""A sweep of learning rates: one training step at each, from rates too small to rates too large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from engine.compute.loss import Criterion
from engine.data.loaders import shuffled_batches
from engine.experiments.lr_range_test.curve import Smoothed
from engine.training import optimizers
from engine.training.feature_loader import Batch
from engine.training.session import Session
from engine.training.step import launch_step, read_step

# Of the head, and of the backbone's layers next to it.
Rates = tuple[float, float]
# (smoothed loss or None where it is not finite) after each step; may raise engine.errors.Stopped.
Tell = Callable[[float | None], None]


def sweep(session: Session, criterion: Criterion, rates: Sequence[Rates], order: int, tell: Tell) -> list[float]:
    """The loss of the batch at each pair of ``rates``, before the step with them; it ends early where the smoothed loss
    explodes or is not finite.

    ``order``: images come in another one for each. Weights move; see ``lr_trial``.
    """
    smoothed, losses = Smoothed(), []
    for (head, backbone), batch in zip(rates, _batches(session, order), strict=False):
        loss = _step(session, criterion, batch, head, backbone)
        mean = smoothed.add(loss)
        tell(mean if math.isfinite(mean) else None)
        if smoothed.exploded(mean):
            break
        losses.append(loss)
    return losses


def _step(session: Session, criterion: Criterion, batch: Batch, head: float, backbone: float) -> float:
    """A training step at these rates; the batch's loss before it."""
    rates = session.config.optimizer.model_copy(update={"lr": head, "backbone_lr_factor": backbone / head})
    optimizers.set_learning_rates(session.optimizer, rates, 1.0, session.depths)
    session.step += 1
    result = read_step(session, launch_step(session, batch, criterion, with_layer_stats=False))
    return result.loss if result.finite else math.nan


def _batches(session: Session, order: int) -> Iterator[Batch]:
    """Batches as training has them, without end."""
    train = session.config.train
    epoch = 0
    while True:
        epoch += 1
        members = session.data.splits["train"]
        batches = shuffled_batches(members, train.batch_size, train.seed + order, epoch)
        yield from session.loader.training_batches(batches, epoch)
