"""One optimizer step: ``launch_step`` queues it on the device, ``read_step`` waits for its results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from engine.compute.batch_fit import is_out_of_memory, release
from engine.compute.task import Criterion
from engine.data.loaders import micro_batches
from engine.errors import TrainingFailed
from engine.runs.events import Layers
from engine.training import optimizers
from engine.training.feature_loader import Batch
from engine.training.forward_backward import PreStepState, forward_backward, min_images
from engine.training.l2_sp import add_l2_sp_gradients
from engine.training.layer_stats import LayerStats, is_due
from engine.training.nonfinite import locate_nonfinite
from engine.training.session import Session

_TOO_LARGE = (
    "a process's local batch does not fit into memory, and batch norm over several processes needs it in one piece; "
    'lower train.batch_size, use more processes, or set freeze.norm_stats = "frozen"'
)

_MIN_LOSS_SCALE = 2.0**-10  # for fp16; the scale begins at 2¹⁶, and what overflows at 2⁻¹⁰ overflows at any scale


@dataclass(frozen=True)
class LaunchedStep:
    """A step that may still run on the device.

    - ``results``: loss, correct predictions, gradient norm, total class weight, then those of ``layer_stats`` if any.
      They are on the host once ``ready`` has happened.
    - ``locate_nonfinite`` repeats the step to find its first non-finite value.
    """

    step: int
    count: int
    learning_rates: dict[str, float]
    results: torch.Tensor
    ready: torch.cuda.Event | None
    before: PreStepState
    locate_nonfinite: Callable[[], str]
    layer_stats: LayerStats | None


@dataclass(frozen=True)
class StepResult:
    """Mean loss, the sum of the training metric over ``count`` images, and the norm of the gradients before clipping.

    - ``weight``: the total class weight of the images, the divisor of the mean loss.
    - ``origin``: where the first non-finite value arose, if any: "in …".
    - ``layers``: the layer statistics, in the steps that have them.
    """

    step: int
    count: int
    weight: float
    learning_rates: dict[str, float]
    loss: float
    correct: float
    grad_norm: float
    finite: bool
    origin: str = ""
    layers: Layers | None = None


def launch_step(session: Session, batch: Batch, criterion: Criterion, *, with_layer_stats: bool = True) -> LaunchedStep:
    """Forward, backward, clip, step. Weights do not change if the loss or a gradient is non-finite.

    With train.accumulate, ``batch`` holds the images of all batches of the step, which go through the network in turn.
    A batch too large for memory is processed in parts. ``with_layer_stats``: collect them if they are due.
    Raises TrainingFailed if no part fits.
    """
    optimizer, scaler = session.optimizer, session.scaler
    with_layer_stats = with_layer_stats and is_due(session.step, session.steps_per_epoch)
    stats = LayerStats(session) if with_layer_stats else None
    before = PreStepState(session.freezing, session.device)
    loss, correct, parts = _accumulate_gradients(session, batch, criterion, before, stats)
    add_l2_sp_gradients(session)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss, correct = _all_reduce(session, loss, correct, parameters)
    scaler.unscale_(optimizer)
    if stats:
        stats.before_update()
    norm = nn.utils.clip_grad_norm_(parameters, session.config.optimizer.clip_norm or math.inf)
    results = torch.stack([loss, correct, norm, criterion.weight(batch.global_labels)]).double()
    # While the scaler searches its scale, gradients are expected to overflow, and it skips such steps itself.
    if scaler.is_enabled():
        scaler.step(optimizer)
    elif optimizers.is_fused(optimizer):
        optimizers.step_if_finite(optimizer, results.isfinite().all())
    elif results.isfinite().all():
        optimizer.step()
    scaler.update()
    session.average.update(session.step)
    if stats:
        results = torch.cat([results, stats.after_update(len(parts))])
    results, ready = _copy_to_host(results)
    locate = functools.partial(locate_nonfinite, session, batch, criterion, parts, before)
    rates = optimizers.learning_rates(optimizer)
    return LaunchedStep(session.step, len(batch.global_labels), rates, results, ready, before, locate, stats)


def _accumulate_gradients(
    session: Session, batch: Batch, criterion: Criterion, before: PreStepState, stats: LayerStats | None
) -> tuple[torch.Tensor, torch.Tensor, list[slice]]:
    """Forward and backward, in smaller parts after each out-of-memory error. Returns loss, correct and the parts."""
    while True:
        session.optimizer.zero_grad(set_to_none=True)
        parts = _parts(session, batch)
        try:
            with stats.record_activations() if stats else nullcontext():
                loss, correct = forward_backward(session, batch, criterion, parts)
            return loss, correct, parts
        except Exception as error:
            if _must_be_one_part(session) and is_out_of_memory(error):
                raise TrainingFailed(_TOO_LARGE) from error
            largest = max(part.stop - part.start for part in parts)
            session.fits.shrink("train", largest, error, least=min_images(session.freezing))
        before.restore()
        release(session.device)


def _parts(session: Session, batch: Batch) -> list[slice]:
    """The parts in which a step's images go through the network: micro-batches, or what of them fits into memory."""
    if batch.global_batch:
        micro = [local for local, _ in batch.global_batch.micro_batches]
    else:
        micro = micro_batches(len(batch.labels), session.config.train.batch_size)
    if _must_be_one_part(session):
        return micro
    return [
        slice(whole.start + part.start, whole.start + part.stop)
        for whole in micro
        for part in session.fits.parts("train", whole.stop - whole.start, min_images(session.freezing))
    ]


def _must_be_one_part(session: Session) -> bool:
    """Whether processes synchronize batch statistics within a forward pass, so that none may repeat a part."""
    return session.context.ranks.world_size > 1 and bool(session.freezing.moving)


def _all_reduce(
    session: Session, loss: torch.Tensor, correct: torch.Tensor, parameters: Sequence[nn.Parameter]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum gradients over all processes, in place, and return the sums of loss and correct predictions."""
    results = torch.stack([loss, correct.to(loss.dtype)])
    session.context.ranks.all_reduce([results, *(p.grad for p in parameters if p.grad is not None)])
    return results[0], results[1]


def _copy_to_host(results: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The results on the host, and the event after which they are there."""
    if results.device.type != "cuda":
        return results, None
    results = results.to("cpu", non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return results, ready


def read_step(session: Session, launched: LaunchedStep) -> StepResult:
    """The result of a step. Waits until the device has finished it."""
    if launched.ready:
        launched.ready.synchronize()
    loss, correct, norm, weight, *layer_results = launched.results.tolist()
    is_finite = math.isfinite(loss) and (math.isfinite(norm) or _is_scale_search(session.scaler))
    origin = ""
    if not is_finite:
        origin = next(filter(None, session.context.ranks.all_gather(launched.locate_nonfinite())), "")
        launched.before.restore_statistics()
    stats = launched.layer_stats
    layers = stats.to_event(launched.step, session.epoch + 1, layer_results) if stats else None
    step, count, rates = launched.step, launched.count, launched.learning_rates
    return StepResult(step, count, weight, rates, loss, correct, norm, is_finite, origin, layers)


def _is_scale_search(scaler: torch.amp.GradScaler) -> bool:
    """Whether gradients may overflow only because of the loss scale."""
    return scaler.is_enabled() and scaler.get_scale() > _MIN_LOSS_SCALE
