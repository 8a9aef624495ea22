"""One optimizer step, in two parts: it is launched, and its figures are read once the device has got that far."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from engine.compute.batch_fit import is_out_of_memory, release
from engine.compute.loss import Criterion
from engine.errors import TrainingFailed
from engine.runs.events import Layers
from engine.training import optimizers
from engine.training.feature_loader import Batch
from engine.training.forward_backward import Before, fewest, forward_backward
from engine.training.layer_stats import Look, is_due
from engine.training.nonfinite import find_origin
from engine.training.session import Session

_TOO_LARGE = (
    "a process's part of a batch does not fit into memory, and batch statistics over several processes need it in one "
    'piece; lower train.batch_size, use more processes, or set freeze.norm_stats = "frozen"'
)

_LEAST_SCALE = 2.0**-10  # of an fp16 loss; it begins at 2¹⁶, and what overflows here overflows at any scale


@dataclass(frozen=True)
class Launched:
    """A step that the device may still be at.

    ``figures``: loss, correct answers, norm of the gradients and what the loss was divided by, then those of the
    ``look`` at the layers if there was one, on the host when ``ready`` is. ``origin`` repeats the step to find where a
    number first was not finite.
    """

    step: int
    count: int
    rates: dict[str, float]
    figures: torch.Tensor
    ready: torch.cuda.Event | None
    before: Before
    origin: Callable[[], str]
    look: Look | None


@dataclass(frozen=True)
class StepResult:
    """Figures of one step: the mean loss and the right answers of ``count`` images, the gradients' norm unclipped.

    ``weight``: what the mean loss was divided by, the sum of the images' class weights.

    ``origin``: where a number first was not finite, if one was: "in …". ``layers``: where they were looked at.
    """

    step: int
    count: int
    weight: float
    rates: dict[str, float]
    loss: float
    correct: int
    grad_norm: float
    finite: bool
    origin: str = ""
    layers: Layers | None = None


def launch(session: Session, batch: Batch, criterion: Criterion, *, with_looks: bool = True) -> Launched:
    """Forward, backward, clip, step. Weights stay as they are where the loss or a gradient is not finite.

    Where memory is too small for the batch it goes through in parts. ``with_looks``: at the layers, when one is due.
    Raises TrainingFailed where no part would fit.
    """
    look = Look(session) if with_looks and is_due(session.step, session.steps_per_epoch) else None
    optimizer, scaler = session.optimizer, session.scaler
    before = Before(session.freezing, session.device)
    while True:
        optimizer.zero_grad(set_to_none=True)
        parts = _parts(session, len(batch.labels))
        try:
            with look.activations() if look else nullcontext():
                loss, correct = forward_backward(session, batch, criterion, parts)
            break
        except Exception as error:
            if _all_see_the_whole(session) and is_out_of_memory(error):
                raise TrainingFailed(_TOO_LARGE) from error
            largest = max(part.stop - part.start for part in parts)
            session.fits.shrink("train", largest, error, least=fewest(session.freezing))
        before.put_back()
        release(session.device)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss, correct = _added_up(session, loss, correct, parameters)
    scaler.unscale_(optimizer)
    if look:
        look.before_update()
    norm = nn.utils.clip_grad_norm_(parameters, session.config.optimizer.clip_norm or math.inf)
    figures = torch.stack([loss, correct, norm, criterion.weight(batch.all_labels)]).double()
    # While the scaler looks for its scale, gradients that overflow are expected, and it skips such steps itself.
    if scaler.is_enabled():
        scaler.step(optimizer)
    elif optimizers.is_fused(optimizer):
        optimizers.step_if(optimizer, figures.isfinite().all())
    elif figures.isfinite().all():
        optimizer.step()
    scaler.update()
    if look:
        figures = torch.cat([figures, look.after_update(len(parts))])
    figures, ready = _on_their_way(figures)
    origin = functools.partial(find_origin, session, batch, criterion, parts, before)
    count = len(batch.all_labels)
    return Launched(session.step, count, optimizers.rates(optimizer), figures, ready, before, origin, look)


def _parts(session: Session, count: int) -> list[slice]:
    """The parts in which so many images go through the network."""
    return [slice(0, count)] if _all_see_the_whole(session) else session.fits.parts("train", count)


def _all_see_the_whole(session: Session) -> bool:
    """Whether processes wait for each other within a pass, for batch statistics, so that none may repeat a part."""
    return session.ranks.count > 1 and bool(session.freezing.moving)


def _added_up(
    session: Session, loss: torch.Tensor, correct: torch.Tensor, parameters: Sequence[nn.Parameter]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and right answers of all processes together, as are the gradients of ``parameters`` from then on."""
    figures = torch.stack([loss, correct.to(loss.dtype)])
    session.ranks.add_up([figures, *(p.grad for p in parameters if p.grad is not None)])
    return figures[0], figures[1]


def _on_their_way(figures: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The figures on the host, and when they will be there, if they are not yet."""
    if figures.device.type != "cuda":
        return figures, None
    figures = figures.to("cpu", non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return figures, ready


def _is_scale_sought(scaler: torch.amp.GradScaler) -> bool:
    """Whether gradients may overflow because of the loss's scale, and not by themselves."""
    return scaler.is_enabled() and scaler.get_scale() > _LEAST_SCALE


def read(session: Session, launched: Launched) -> StepResult:
    """The figures of a step; waits until the device has done it."""
    if launched.ready:
        launched.ready.synchronize()
    loss, correct, norm, weight, *of_layers = launched.figures.tolist()
    sound = math.isfinite(loss) and (math.isfinite(norm) or _is_scale_sought(session.scaler))
    origin = ""
    if not sound:
        origin = next(filter(None, session.ranks.gathered(launched.origin())), "")
        launched.before.put_back_statistics()
    layers = launched.look.event(launched.step, session.epoch + 1, of_layers) if launched.look else None
    step, count, rates = launched.step, launched.count, launched.rates
    return StepResult(step, count, weight, rates, loss, int(correct), norm, sound, origin, layers)
