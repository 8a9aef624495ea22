"""A learning-rate sweep: one training step at each rate, from too small to too large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from engine.compute.task import Criterion
from engine.data.samplers import epoch_batches
from engine.experiments.lr_range_test.curve import Smoothed
from engine.training import optimizers
from engine.training.feature_loader import Batch
from engine.training.session import Session
from engine.training.step import launch_step, read_step

Rates = tuple[float, float]
"""Learning rates of the head, and of the backbone's layers next to it."""
OnStep = Callable[[float | None], None]
"""Takes the smoothed loss after each step, None where it is non-finite. May raise Stopped."""


def sweep(session: Session, criterion: Criterion, rates: Sequence[Rates], order: int, on_step: OnStep) -> list[float]:
    """Train one step at each pair of ``rates``; returns each batch's loss before its step.

    Ends early where the smoothed loss diverges or is non-finite. ``order``: seeds the order of the images. Changes the
    weights; see ``rollback.trial``.
    """
    smoothed, losses = Smoothed(), []
    for (head, backbone), batch in zip(rates, _batches(session, order), strict=False):
        loss = _step(session, criterion, batch, head, backbone)
        mean = smoothed.add(loss)
        on_step(mean if math.isfinite(mean) else None)
        if smoothed.has_diverged(mean):
            break
        losses.append(loss)
    return losses


def _step(session: Session, criterion: Criterion, batch: Batch, head: float, backbone: float) -> float:
    """Train one step at these rates; returns the batch's loss before it, NaN where it is non-finite."""
    rates = session.config.optimizer.model_copy(update={"lr": head, "backbone_lr_factor": backbone / head})
    optimizers.set_learning_rates(session.optimizer, rates, 1.0, session.depths)
    session.step += 1
    result = read_step(session, launch_step(session, batch, criterion, with_layer_stats=False))
    return result.loss if result.finite else math.nan


def _batches(session: Session, order: int) -> Iterator[Batch]:
    """Yield training batches without end."""
    train = session.config.train
    epoch = 0
    while True:
        epoch += 1
        batches = epoch_batches(session.data, train, epoch, train.seed + order)
        yield from session.loader.training_batches(batches, epoch)
