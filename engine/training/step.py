"""One optimizer step, in two parts: it is launched, and its figures are read once the device has got that far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from engine.training import optimizers
from engine.training.criterion import Criterion, main_logits
from engine.training.feed import Batch
from engine.training.session import Session


@dataclass(frozen=True)
class Launched:
    """A step that the device may still be at. ``figures``: loss, right answers and norm of the gradients, on the host
    when ``ready`` is."""

    step: int
    count: int
    rates: dict[str, float]
    figures: torch.Tensor
    ready: torch.cuda.Event | None


@dataclass(frozen=True)
class StepResult:
    """Figures of one step: the mean loss and the right answers of ``count`` pictures, the gradients' norm unclipped."""

    step: int
    count: int
    rates: dict[str, float]
    loss: float
    correct: int
    grad_norm: float
    finite: bool


def launch(session: Session, batch: Batch, criterion: Criterion) -> Launched:
    """Forward, backward, clip, step. Weights stay as they are where the loss or a gradient is not finite."""
    optimizer, scaler = session.optimizer, session.scaler
    with session.precision.autocast():
        outputs = session.split.suffix_train(*batch.inputs)
    loss = criterion(outputs, batch.labels)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, session.config.optimizer.clip_norm or math.inf)
    correct = (main_logits(outputs).detach().argmax(1) == batch.labels).sum()
    figures = torch.stack([loss.detach().double(), correct.double(), norm.double()])
    # While the scaler looks for its scale, gradients that overflow are expected, and it skips such steps itself.
    if scaler.is_enabled():
        scaler.step(optimizer)
    elif optimizers.is_fused(optimizer):
        optimizers.step_if(optimizer, figures.isfinite().all())
    elif figures.isfinite().all():
        optimizer.step()
    scaler.update()
    return _launched(session, len(batch.labels), figures)


def _launched(session: Session, count: int, figures: torch.Tensor) -> Launched:
    rates = optimizers.rates(session.optimizer)
    if figures.device.type != "cuda":
        return Launched(session.step, count, rates, figures, None)
    figures = figures.to("cpu", non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return Launched(session.step, count, rates, figures, ready)


def read(session: Session, launched: Launched) -> StepResult:
    """The figures of a step; waits until the device has done it."""
    if launched.ready:
        launched.ready.synchronize()
    loss, correct, norm = launched.figures.tolist()
    sound = math.isfinite(loss) and (math.isfinite(norm) or session.scaler.is_enabled())
    return StepResult(launched.step, launched.count, launched.rates, loss, int(correct), norm, sound)
