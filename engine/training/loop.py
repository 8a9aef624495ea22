"""The training loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader

from engine.data.loaders import (
    Batch,
    PictureDataset,
    ShuffledBatches,
    choose_workers,
    evaluation_loader,
    training_loader,
)
from engine.evaluation.predictions import Normalize, predict
from engine.progress import Report
from engine.protocol import Epoch, Step, finite
from engine.training import optimizers, schedules
from engine.training.criterion import Criterion, balanced_weights, main_logits
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
    """Figures of one step: the batch's mean loss, its right answers, the norm of all gradients before clipping."""

    loss: float
    correct: int
    grad_norm: float
    finite: bool


def train(session: Session, report: Report) -> str:
    """Train until the planned epochs are done or patience runs out.

    Returns why it ended. Raises Stopped where someone wants it, and TrainingFailed.
    """
    data, config = session.data, session.config
    side = session.classifier.preprocessing.image_size
    dataset = PictureDataset(data.store, data.labels, side, config.data.augment, config.train.seed)
    batches = ShuffledBatches(data.splits["train"], config.train.batch_size, config.train.seed)
    loader = training_loader(dataset, batches, choose_workers(config.data.workers, config.data.augment))
    val_loader = evaluation_loader(dataset, data.splits["val"], config.train.batch_size)
    criterion = make_criterion(session)

    while session.epoch < session.config.train.epochs:
        start = time.monotonic()
        batches.epoch = session.epoch + 1
        totals = train_epoch(session, loader, criterion)
        session.rollbacks = 0 if totals.sound else session.rollbacks
        val_loss, val_accuracy = validate(session, val_loader, criterion, report)
        session.epoch += 1
        write_epoch(session, totals, val_loss, val_accuracy, time.monotonic() - start)
        session.save(best=session.best is session.epochs[-1])
        patience = session.config.train.early_stop_patience
        if patience and session.best and session.epoch - session.best.epoch >= patience:
            return f"stopped early: no better epoch than epoch {session.best.epoch} for {patience} epochs"
    return f"all {session.epoch} epochs done"


def train_epoch(session: Session, loader: DataLoader[Batch], criterion: Criterion) -> Totals:
    """One pass over the training pictures. Settings and the freeze plan may change before each step."""
    totals = Totals()
    normalize = Normalize(session.classifier.preprocessing, session.device)
    last = time.monotonic()
    for pictures, labels in loader:
        session.obey()
        config = session.config
        factor = schedules.factor(config.schedule, session.step, len(loader), config.train.epochs)
        optimizers.set_rates(session.optimizer, config.optimizer, factor, session.depths)
        result = train_step(session, normalize(pictures), labels.to(session.device, non_blocking=True), criterion)
        session.step += 1
        now = time.monotonic()
        write_step(session, result, images_per_second=len(labels) / (now - last))
        last = now
        if result.finite:
            totals.loss += result.loss * len(labels)
            totals.correct += result.correct
            totals.count += len(labels)
        else:
            totals.sound = False
            survive(session, result)
    return totals


def train_step(session: Session, inputs: torch.Tensor, labels: torch.Tensor, criterion: Criterion) -> StepResult:
    """Forward, backward, clip, step. Weights stay as they are where the loss or a gradient is not finite."""
    optimizer, scaler = session.optimizer, session.scaler
    session.freezing.train_mode()
    with session.precision.autocast():
        outputs = session.classifier.module(inputs)
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
    return StepResult(loss.item(), correct, norm, sound)


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


def validate(session: Session, loader: DataLoader[Batch], criterion: Criterion, report: Report) -> tuple[float, float]:
    """Mean loss and accuracy on the validation pictures."""
    loss, correct, count = 0.0, 0, 0
    for logits, labels in predict(session.classifier, loader, session.precision, report, "validate"):
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
