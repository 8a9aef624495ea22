"""The training loop."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator

from engine.compute.task import Criterion, ValidationResult, open_criterion
from engine.config.phases import phase_span_at
from engine.config.tasks import TASKS
from engine.data.samplers import epoch_batches
from engine.errors import TrainingFailed
from engine.runs.events import Epoch, Step
from engine.runs.json_floats import encode_float
from engine.runs.stopped import Stopped
from engine.training import lr_schedules, optimizers
from engine.training.checkpointing import emit_checkpoints, finish_checkpoints, roll_back, save_checkpoint
from engine.training.checkpoints import EpochTotals
from engine.training.command_handler import apply_commands, has_pending_work
from engine.training.forgetting import Forgetting
from engine.training.session import Session
from engine.training.step import LaunchedStep, StepResult, launch_step, read_step

_MAX_ROLLBACKS = 3  # without an epoch of finite steps between them; more of them do not help
_MAX_SKIPPED = 10  # consecutive steps; the steps after them are non-finite too


def fit(session: Session) -> str:
    """Train until all epochs are done or early stopping ends the run. Returns the reason.

    Raises Stopped on request, and TrainingFailed. Checkpoints are on disk in any case.
    """
    try:
        criterion = build_criterion(session)
        forgetting = Forgetting(session)
        cached = session.loader.cached_bytes
        if session.context.replayed.completed:
            apply_commands(session)  # one of them sets more epochs
        while (reason := stop_reason(session)) is None:
            session.enter_phase()
            started = time.monotonic() - session.totals.seconds
            train_epoch(session, criterion, started)
            if session.totals.sound:
                session.rollbacks = 0
            with session.average.in_use():
                validation = validate(session, criterion)
                if session.context.ranks.is_main:
                    forgetting.emit()
            session.epoch += 1
            emit_epoch(session, session.totals, validation, time.monotonic() - started)
            session.totals = EpochTotals()
            is_best = session.best is session.epochs[-1]
            # Where epochs are shorter than writing a checkpoint, even a snapshot of each would cost too much.
            if is_best or not session.writer.behind or stop_reason(session):
                save_checkpoint(session, best=is_best)
            if session.loader.cached_bytes != cached:
                cached = session.loader.cached_bytes
                session.emit_boundary()
        return reason
    finally:
        finish_checkpoints(session)


def stop_reason(session: Session) -> str | None:
    """Why training ends after the current epoch; None if another epoch follows.

    Patience counts in the recipe's last phase only, because earlier phases prepare for it.
    """
    config, best = session.config, session.best
    patience, part = config.train.early_stop_patience, phase_span_at(config, session.epoch)
    in_last = part.number == len(config.recipe.phases)
    if patience and best and in_last and session.epoch - max(best.epoch, part.first) >= patience:
        return f"stopped early: no better epoch than epoch {best.epoch} for {patience} epochs"
    return f"all {session.epoch} epochs done" if session.epoch >= config.train.epochs else None


def train_epoch(session: Session, criterion: Criterion, started: float) -> None:
    """Train on the batches left in the epoch. Settings and the freeze plan may change before each step.

    ``started``: when the epoch began, in seconds of time.monotonic.
    """
    config, totals = session.config.train, session.totals
    batches = epoch_batches(session.data, config, session.epoch + 1)
    session.freezing.train_mode()
    while totals.done < len(batches):
        for result in train_batches(session, batches, criterion):
            totals.done += 1
            totals.seconds = time.monotonic() - started
            if result.finite:
                totals.loss += result.loss * result.weight
                totals.weight += result.weight
                totals.correct += result.correct
                totals.count += result.count
                session.skipped = 0
            else:
                totals.sound = False
                handle_nonfinite_step(session, result)
    if not totals.count and config.on_nan == "skip":
        raise TrainingFailed(f"all {totals.done} steps of epoch {session.epoch + 1} were skipped; {_advice(session)}")


def train_batches(session: Session, batches: list[list[int]], criterion: Criterion) -> Iterator[StepResult]:
    """Take a step on each of the epoch's ``batches`` that are left, until a freeze plan changes the network's split.

    The results of all launched steps are read and emitted before a command is applied or Stopped raised.
    """
    split = session.split
    steps = StepQueue(session)
    try:
        for batch in session.loader.training_batches(batches, session.epoch + 1, session.totals.done):
            emit_checkpoints(session)
            if has_pending_work(session):
                yield from steps.read()
                apply_commands(session)
                if session.split is not split:
                    return
            set_learning_rates(session)
            session.step += 1
            steps.append(launch_step(session, batch, criterion))
            # A GPU computes the next step while the results of this one are read.
            yield from steps.read(leave=int(session.device.type == "cuda"))
    except Stopped:
        yield from steps.read()
        raise
    yield from steps.read()


def set_learning_rates(session: Session) -> None:
    """Set the optimizer's learning rates for the next step, as the schedule of the current phase has them."""
    config, steps_per_epoch = session.config, session.steps_per_epoch
    part = phase_span_at(config, session.epoch)
    step = session.step - part.first * steps_per_epoch
    scores = [epoch.objective for epoch in session.epochs[part.first :]]
    factor = lr_schedules.factor(config.schedule, step, steps_per_epoch, part.epochs, scores)
    optimizers.set_learning_rates(session.optimizer, config.optimizer, factor, session.depths)


class StepQueue:
    """Launched steps whose results are not read yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._launched: deque[LaunchedStep] = deque()
        self._last = time.monotonic()

    def append(self, launched: LaunchedStep) -> None:
        """Add the next step."""
        self._launched.append(launched)

    def read(self, leave: int = 0) -> Iterator[StepResult]:
        """Read and emit the results in order, all but the last ``leave``."""
        while len(self._launched) > leave:
            result = read_step(self._session, self._launched.popleft())
            now = time.monotonic()
            emit_step(self._session, result, images_per_second=result.count / (now - self._last))
            self._last = now
            yield result


def handle_nonfinite_step(session: Session, result: StepResult) -> None:
    """Skip the step, roll back or fail, as ``train.on_nan`` says.

    Raises TrainingFailed for "stop", and after too many skips or rollbacks.
    """
    what = f"the loss became {result.loss}" if not math.isfinite(result.loss) else "a gradient was not finite"
    at = f"at step {result.step}" + (f", first {result.origin}" if result.origin else "")
    advice = _advice(session)
    on_nan = session.config.train.on_nan
    session.skipped += 1
    if on_nan == "skip" and session.skipped >= _MAX_SKIPPED:
        raise TrainingFailed(f"{session.skipped} consecutive steps were skipped: {what} {at}; {advice}")
    if on_nan == "skip":
        session.context.warn("step_skipped", f"{what} {at}; the step was skipped; {advice}")
    elif on_nan == "rollback" and session.rollbacks < _MAX_ROLLBACKS and roll_back(session):
        session.context.warn("rolled_back", f"{what} {at}; rolled back to the last checkpoint; {advice}")
    else:
        raise TrainingFailed(f"{what} {at}; the weights before it are kept; {advice}")


def _advice(session: Session) -> str:
    optimizer = session.config.optimizer
    changes = [f"lower optimizer.lr (it is {optimizer.lr:g})"]
    if not optimizer.clip_norm:
        changes.append("set optimizer.clip_norm = 1.0")
    if session.precision.name != "fp32":
        changes.append('set train.precision = "fp32"')
    return " or ".join(changes)


def validate(session: Session, criterion: Criterion) -> ValidationResult:
    """Compute loss and metrics on the validation images. The first process computes them for all."""
    validation = session.data.task.validation(session.device, session.score)
    for outputs, targets in session.predict_logits("val", "validate"):
        validation.add(criterion(outputs, targets), criterion.weight(targets), outputs, targets)
    return session.context.ranks.broadcast_value(validation.result)


def build_criterion(session: Session) -> Criterion:
    """The loss that the config and the task describe."""
    data = session.data
    targets = data.targets[data.splits["train"]].to(session.device)
    return open_criterion(data.task.spec, session.config.train, targets, session.classifier.aux_weight)


def emit_step(session: Session, result: StepResult, images_per_second: float) -> None:
    """Emit a step, and its layer statistics if the step has any."""
    loss, nonfinite = encode_float(result.loss)
    session.context.log.write(
        Step(
            step=result.step,
            epoch=session.epoch + 1,
            loss=loss,
            nonfinite=nonfinite,
            lr=result.learning_rates,
            grad_norm=encode_float(result.grad_norm)[0],
            images_per_second=round(images_per_second, 1),
        )
    )
    if result.layers:
        session.context.log.write(result.layers)


def emit_epoch(session: Session, totals: EpochTotals, validation: ValidationResult, seconds: float) -> None:
    """Emit an epoch, with the proof that frozen layers did not change."""
    proof = session.freezing.verify()
    train_loss, train_kind = encode_float(totals.loss / totals.weight if totals.count else math.nan)
    finite_val_loss, val_kind = encode_float(validation.loss)
    metrics = dict(validation.metrics)
    task = TASKS[session.data.task.spec.task]
    trained = totals.correct / totals.count if totals.count else 0.0
    epoch = Epoch(
        epoch=session.epoch,
        step=session.step,
        train_loss=train_loss,
        train_accuracy=trained if task.curve == "accuracy" else None,
        val_loss=finite_val_loss,
        val_accuracy=metrics.pop("accuracy", None),
        nonfinite=val_kind or train_kind,
        seconds=round(seconds, 3),
        frozen_digest=proof.digest,
        frozen_unchanged=proof.unchanged,
        val_balanced_accuracy=metrics.pop("balanced_accuracy", None),
        val_label_rank=metrics.pop("label_rank", None),
        batch_norms=len(session.freezing.moving),
        score=session.score,
        train_metrics={} if task.curve == "accuracy" else {task.curve: trained},
        val_metrics=metrics,
    )
    session.epochs.append(epoch)
    session.context.log.write(epoch)
