"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from engine.data.loaders import shuffled_batches
from engine.progress import Report
from engine.protocol import Epoch, Step, finite
from engine.training import optimizers, schedules
from engine.training.criterion import Criterion, balanced_weights, main_logits
from engine.training.feed import Batch
from engine.training.session import Session

_MOST_ROLLBACKS = 3  # without a sound epoch between them; more and going back does not help


class TrainingFailed(Exception):
    """Training can't go on; the message says why and what to change."""


@dataclass
class Totals:
    """Sums over the training pictures of an epoch, ``loss`` weighted by pictures; ``sound``: all steps were finite."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    sound: bool = True


@dataclass(frozen=True)
class StepResult:
    """Figures of one step: the mean loss and the right answers of ``count`` pictures, the gradients' norm unclipped."""

    loss: float
    correct: int
    count: int
    grad_norm: float
    finite: bool


def train(session: Session, report: Report) -> str:
    """Train until the planned epochs are done or patience runs out.

    Returns why it ended; checkpoints are written then. Raises Stopped where someone wants it, and TrainingFailed.
    """
    try:
        return _train_epochs(session, report)
    finally:
        session.finish_checkpoints()


def _train_epochs(session: Session, report: Report) -> str:
    criterion = make_criterion(session)
    cached = session.feed.cached
    while session.epoch < session.config.train.epochs:
        start = time.monotonic()
        totals = train_epoch(session, criterion)
        session.rollbacks = 0 if totals.sound else session.rollbacks
        val_loss, val_accuracy = validate(session, criterion, report)
        session.epoch += 1
        write_epoch(session, totals, val_loss, val_accuracy, time.monotonic() - start)
        session.save(best=session.best is session.epochs[-1])
        if session.feed.cached != cached:
            cached = session.feed.cached
            session.tell_of_boundary()
        patience = session.config.train.early_stop_patience
        if patience and session.best and session.epoch - session.best.epoch >= patience:
            return f"stopped early: no better epoch than epoch {session.best.epoch} for {patience} epochs"
    return f"all {session.epoch} epochs done"


def train_epoch(session: Session, criterion: Criterion) -> Totals:
    """One pass over the training pictures. Settings and the freeze plan may change before each step."""
    totals = Totals()
    config, epoch = session.config.train, session.epoch + 1
    batches = shuffled_batches(session.data.splits["train"], config.batch_size, config.seed, epoch)
    done = 0
    session.freezing.train_mode()
    while done < len(batches):
        for result in train_batches(session, batches[done:], len(batches), criterion):
            done += 1
            if result.finite:
                totals.loss += result.loss * result.count
                totals.correct += result.correct
                totals.count += result.count
            else:
                totals.sound = False
                survive(session, result)
    return totals


def train_batches(
    session: Session, batches: list[list[int]], steps_per_epoch: int, criterion: Criterion
) -> Iterator[StepResult]:
    """A step for each of ``batches``, until they are done or the freeze plan asks for inputs of another place."""
    split = session.split
    last = time.monotonic()
    for batch in session.feed.training(batches, session.epoch + 1):
        session.obey()
        if session.split is not split:
            return
        config = session.config
        factor = schedules.factor(config.schedule, session.step, steps_per_epoch, config.train.epochs)
        optimizers.set_rates(session.optimizer, config.optimizer, factor, session.depths)
        result = train_step(session, batch, criterion)
        session.step += 1
        now = time.monotonic()
        write_step(session, result, images_per_second=result.count / (now - last))
        last = now
        yield result


def train_step(session: Session, batch: Batch, criterion: Criterion) -> StepResult:
    """Forward, backward, clip, step. Weights stay as they are where the loss or a gradient is not finite."""
    optimizer, scaler, labels = session.optimizer, session.scaler, batch.labels
    with session.precision.autocast():
        outputs = session.split.suffix_train(*batch.inputs)
    loss = criterion(outputs, labels)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, session.config.optimizer.clip_norm or math.inf).item()
    correct = int((main_logits(outputs).argmax(1) == labels).sum())
    # While the scaler looks for its scale, gradients that overflow are expected, and it skips such steps itself.
    sound = math.isfinite(loss.item()) and (math.isfinite(norm) or scaler.is_enabled())
    if sound:
        scaler.step(optimizer)
    scaler.update()
    return StepResult(loss.item(), correct, len(labels), norm, sound)


def survive(session: Session, result: StepResult) -> None:
    """Do what ``train.on_nan`` says after a step that was not finite. Raises TrainingFailed for "stop"."""
    what = f"the loss became {result.loss}" if not math.isfinite(result.loss) else "a gradient was not finite"
    advice = 'lower optimizer.lr, keep optimizer.clip_norm on, or set train.precision = "fp32"'
    on_nan = session.config.train.on_nan
    if on_nan == "skip":
        session.warn("step_skipped", f"{what} at step {session.step}; the step was skipped; {advice}")
    elif on_nan == "rollback" and session.rollbacks < _MOST_ROLLBACKS and session.go_back():
        session.warn("rolled_back", f"{what} at step {session.step}; went back to the last checkpoint; {advice}")
    else:
        raise TrainingFailed(f"{what} at step {session.step}; the weights before it are kept; {advice}")


def validate(session: Session, criterion: Criterion, report: Report) -> tuple[float, float]:
    """Mean loss and accuracy on the validation pictures."""
    loss, correct, count = 0.0, 0, 0
    for logits, labels in session.answers("val", report, "validate"):
        loss += criterion(logits, labels).item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, correct / count


def make_criterion(session: Session) -> Criterion:
    """The loss that the config describes."""
    train = session.config.train
    weights = None
    if train.class_weights == "balanced":
        weights = balanced_weights(session.data.class_counts("train")).to(session.device)
    return Criterion(weights, train.label_smoothing, session.classifier.aux_weight)


def write_step(session: Session, result: StepResult, images_per_second: float) -> None:
    """Tell of a step."""
    loss, nonfinite = finite(result.loss)
    session.log.write(
        Step(
            step=session.step,
            epoch=session.epoch + 1,
            loss=loss,
            nonfinite=nonfinite,
            lr=optimizers.rates(session.optimizer),
            grad_norm=finite(result.grad_norm)[0],
            images_per_second=round(images_per_second, 1),
        )
    )


def write_epoch(session: Session, totals: Totals, val_loss: float, val_accuracy: float, seconds: float) -> None:
    """Tell of an epoch, with the proof that what is frozen did not move."""
    proof = session.freezing.verify()
    train_loss, train_kind = finite(totals.loss / totals.count if totals.count else math.nan)
    finite_val_loss, val_kind = finite(val_loss)
    epoch = Epoch(
        epoch=session.epoch,
        step=session.step,
        train_loss=train_loss,
        train_accuracy=totals.correct / totals.count if totals.count else 0.0,
        val_loss=finite_val_loss,
        val_accuracy=val_accuracy,
        nonfinite=val_kind or train_kind,
        seconds=round(seconds, 3),
        frozen_digest=proof.digest,
        frozen_unchanged=proof.unchanged,
    )
    session.epochs.append(epoch)
    session.log.write(epoch)
