"""The training loop."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator

from engine.compute.loss import Criterion, balanced_weights
from engine.config.phases import part_of
from engine.data.loaders import shuffled_batches
from engine.errors import TrainingFailed
from engine.runs.events import Epoch, Step, finite
from engine.runs.progress import Report
from engine.runs.stopped import Stopped
from engine.training import lr_schedules, optimizers
from engine.training.checkpoints import Totals
from engine.training.forgetting import Forgetting
from engine.training.session import Session
from engine.training.step import Launched, StepResult, launch, read
from engine.training.validation import Validation

_MOST_ROLLBACKS = 3  # without a sound epoch between them; more and going back does not help
_MOST_SKIPS = 10  # consecutive steps; more and the next ones will not be finite either


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
    forgetting = Forgetting(session)
    while (reason := why_over(session)) is None:
        session.take_up_phase()
        started = time.monotonic() - session.totals.seconds
        train_epoch(session, criterion, started)
        session.rollbacks = 0 if session.totals.sound else session.rollbacks
        validation = validate(session, criterion, report)
        if session.ranks.first:
            forgetting.tell()
        session.epoch += 1
        write_epoch(session, session.totals, validation, time.monotonic() - started)
        session.totals = Totals()
        best = session.best is session.epochs[-1]
        # Where epochs are shorter than writing takes, even a snapshot of each would cost too much.
        if best or not session.writer.behind or why_over(session):
            session.save(best=best)
        if session.feed.cached != cached:
            cached = session.feed.cached
            session.tell_of_boundary()
    return reason


def why_over(session: Session) -> str | None:
    """Why no other epoch is to be trained, None if one is. Patience counts in the last phase: others lead up to it."""
    config, best = session.config, session.best
    patience, part = config.train.early_stop_patience, part_of(config, session.epoch)
    in_last = part.number == len(config.recipe.phases)
    if patience and best and in_last and session.epoch - max(best.epoch, part.first) >= patience:
        return f"stopped early: no better epoch than epoch {best.epoch} for {patience} epochs"
    return f"all {session.epoch} epochs done" if session.epoch >= config.train.epochs else None


def train_epoch(session: Session, criterion: Criterion, started: float) -> None:
    """The rest of a pass over the training images. Settings and the freeze plan may change before each step.

    ``started``: when the pass began, in seconds of time.monotonic.
    """
    config, totals = session.config.train, session.totals
    batches = shuffled_batches(session.data.splits["train"], config.batch_size, config.seed, session.epoch + 1)
    session.freezing.train_mode()
    while totals.done < len(batches):
        for result in train_batches(session, batches[totals.done :], criterion):
            totals.done += 1
            totals.seconds = time.monotonic() - started
            if result.finite:
                totals.loss += result.loss * result.weight
                totals.weight += result.weight
                totals.correct += result.correct
                totals.count += result.count
                session.skips = 0
            else:
                totals.sound = False
                survive(session, result)
    if not totals.count and config.on_nan == "skip":
        raise TrainingFailed(f"all {totals.done} steps of epoch {session.epoch + 1} were skipped; {_advice(session)}")


def train_batches(session: Session, batches: list[list[int]], criterion: Criterion) -> Iterator[StepResult]:
    """A step for each of ``batches``, until they are done or the freeze plan asks for inputs of another place.

    All that was launched is read and told before a command is obeyed or Stopped raised.
    """
    split = session.split
    steps = Underway(session)
    try:
        for batch in session.feed.training(batches, session.epoch + 1):
            session.tell_of_checkpoints()
            if session.wanted():
                yield from steps.read()
                session.obey()
                if session.split is not split:
                    return
            config, per_epoch = session.config, session.steps_per_epoch
            part = part_of(config, session.epoch)
            factor = lr_schedules.factor(config.schedule, session.step - part.first * per_epoch, per_epoch, part.epochs)
            optimizers.set_rates(session.optimizer, config.optimizer, factor, session.depths)
            session.step += 1
            steps.add(launch(session, batch, criterion))
            # A card computes the next step while the figures of this one are read.
            yield from steps.read(but=int(session.device.type == "cuda"))
    except Stopped:
        yield from steps.read()
        raise
    yield from steps.read()


class Underway:
    """Steps that were launched and whose figures nobody has read yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._launched: deque[Launched] = deque()
        self._last = time.monotonic()

    def add(self, launched: Launched) -> None:
        """The next step."""
        self._launched.append(launched)

    def read(self, but: int = 0) -> Iterator[StepResult]:
        """The steps in their order, told, all ``but`` the last few."""
        while len(self._launched) > but:
            result = read(self._session, self._launched.popleft())
            now = time.monotonic()
            write_step(self._session, result, images_per_second=result.count / (now - self._last))
            self._last = now
            yield result


def survive(session: Session, result: StepResult) -> None:
    """Do what ``train.on_nan`` says after a step that was not finite.

    Raises TrainingFailed for "stop", and where skipping or going back has not helped often enough.
    """
    what = f"the loss became {result.loss}" if not math.isfinite(result.loss) else "a gradient was not finite"
    at = f"at step {result.step}" + (f", first {result.origin}" if result.origin else "")
    advice = _advice(session)
    on_nan = session.config.train.on_nan
    session.skips += 1
    if on_nan == "skip" and session.skips >= _MOST_SKIPS:
        raise TrainingFailed(f"{session.skips} consecutive steps were skipped: {what} {at}; {advice}")
    if on_nan == "skip":
        session.warn("step_skipped", f"{what} {at}; the step was skipped; {advice}")
    elif on_nan == "rollback" and session.rollbacks < _MOST_ROLLBACKS and session.go_back():
        session.warn("rolled_back", f"{what} {at}; went back to the last checkpoint; {advice}")
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


def validate(session: Session, criterion: Criterion, report: Report) -> Validation:
    """How the network does on the validation images."""
    validation = Validation(len(session.data.classes), session.device)
    for logits, labels in session.answers("val", report, "validate"):
        validation.add(criterion(logits, labels), criterion.weight(labels), logits, labels)
    validation.share(session.ranks)
    return validation


def make_criterion(session: Session) -> Criterion:
    """The loss that the config describes."""
    train = session.config.train
    weights = None
    if train.class_weights == "balanced":
        weights = balanced_weights(session.data.class_counts("train")).to(session.device)
    return Criterion(weights, train.label_smoothing, session.classifier.aux_weight)


def write_step(session: Session, result: StepResult, images_per_second: float) -> None:
    """Tell of a step, and of the layers where they were looked at in it."""
    loss, nonfinite = finite(result.loss)
    session.log.write(
        Step(
            step=result.step,
            epoch=session.epoch + 1,
            loss=loss,
            nonfinite=nonfinite,
            lr=result.rates,
            grad_norm=finite(result.grad_norm)[0],
            images_per_second=round(images_per_second, 1),
        )
    )
    if result.layers:
        session.log.write(result.layers)


def write_epoch(session: Session, totals: Totals, validation: Validation, seconds: float) -> None:
    """Tell of an epoch, with the proof that what is frozen did not move."""
    proof = session.freezing.verify()
    train_loss, train_kind = finite(totals.loss / totals.weight if totals.count else math.nan)
    finite_val_loss, val_kind = finite(validation.loss)
    epoch = Epoch(
        epoch=session.epoch,
        step=session.step,
        train_loss=train_loss,
        train_accuracy=totals.correct / totals.count if totals.count else 0.0,
        val_loss=finite_val_loss,
        val_accuracy=validation.accuracy,
        nonfinite=val_kind or train_kind,
        seconds=round(seconds, 3),
        frozen_digest=proof.digest,
        frozen_unchanged=proof.unchanged,
        val_balanced_accuracy=validation.balanced_accuracy,
        val_label_rank=validation.label_rank,
        batch_norms=len(session.freezing.moving),
    )
    session.epochs.append(epoch)
    session.log.write(epoch)
