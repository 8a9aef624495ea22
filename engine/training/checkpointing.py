"""Saves a session to checkpoints, resumes it from one, and rolls it back to one."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import msgspec

from engine.rng import random_state, restore_rng_state
from engine.runs.events import Checkpoint
from engine.training import checkpoints, optimizers
from engine.training.distributed import state_tensors
from engine.training.session import Session

_INTERVAL = 300.0  # seconds after which a checkpoint is due within an epoch


def is_checkpoint_due(session: Session) -> bool:
    """Whether the last checkpoint is five minutes old."""
    return time.monotonic() - session.saved_at >= _INTERVAL


def save_checkpoint(session: Session, *, best: bool) -> None:
    """Have the first process write a checkpoint in the background; ``emit_checkpoints`` emits it when written."""
    session.saved_at = time.monotonic()
    if not session.context.ranks.is_main:
        return
    frozen = session.freezing.state
    trainer = checkpoints.TrainerState(
        epoch=session.epoch,
        step=session.step,
        seq=session.context.log.seq,
        settings=session.config.model_dump(),
        totals=msgspec.structs.replace(session.totals),
        epochs=list(session.epochs),
        rollbacks=session.rollbacks,
        frozen=frozen,
        scaler=session.scaler.state_dict(),
        random=random_state(session.device),
        phase=session.phase,
        skips=session.skipped,
    )
    weights = session.classifier.module.state_dict()
    snapshot = checkpoints.Snapshot(
        trainer,
        weights={name: weights[name] if name in frozen.digests else weights[name].clone() for name in weights},
        average={name: value.clone() for name, value in session.average.values.items()},
        optimizer=optimizers.cloned(session.parked_state | optimizers.named_state(session.optimizer)),
    )
    session.writer.save(snapshot, best=best)


def restore_checkpoint(session: Session, checkpoint: Path) -> None:
    """Restore position, optimizer and random numbers; the session already has the checkpoint's weights and config."""
    trainer = session.context.ranks.broadcast_value(lambda: checkpoints.load_trainer(checkpoint))
    session.epoch, session.step, session.totals = trainer.epoch, trainer.step, trainer.totals
    session.epochs, session.phase = trainer.epochs, trainer.phase
    session.rollbacks, session.skipped = trainer.rollbacks, trainer.skips
    session.pending_changes = deque(session.context.replayed.changes_after(trainer.step, trainer.seq))
    session.freezing.restore(trainer.frozen)
    if trainer.scaler:
        session.scaler.load_state_dict(trainer.scaler)
    _restore_optimizer_and_average(session, checkpoint)
    restore_rng_state(trainer.random, session.device)


def roll_back(session: Session) -> bool:
    """Restore weights and optimizer of the last checkpoint, if there is one; position and schedule stay."""
    finish_checkpoints(session)
    run = session.context
    last = run.ranks.broadcast_value(lambda: checkpoints.newest_intact(run.folder.checkpoints, run.warn))
    if last is None:
        return False
    session.rollbacks += 1
    if run.ranks.is_main:
        checkpoints.load_weights(last, session.classifier.module, leave=session.freezing.frozen(), averaged=False)
    run.ranks.broadcast(state_tensors(session.classifier.module))
    _restore_optimizer_and_average(session, last)
    return True


def _restore_optimizer_and_average(session: Session, checkpoint: Path) -> None:
    ranks = session.context.ranks
    session.rebuild_optimizer(ranks.broadcast_value(lambda: checkpoints.load_optimizer(checkpoint)))
    session.average.restore(ranks.broadcast_value(lambda: checkpoints.load_average(checkpoint)))


def finish_checkpoints(session: Session) -> None:
    """Wait until all checkpoints are written, and emit them."""
    session.writer.finish()
    emit_checkpoints(session)


def emit_checkpoints(session: Session) -> None:
    """Emit the checkpoints written since the last call."""
    run = session.context
    for written in session.writer.written():
        if written.problem:
            run.warn(
                "checkpoint_failed",
                f"{written.path}: no checkpoint could be written after step {written.step} ({written.problem}); "
                "earlier checkpoints are kept, training continues; free disk space there",
            )
            continue
        path = str(written.path.relative_to(run.folder.path))
        run.log.write(Checkpoint(path=path, epoch=written.epoch, step=written.step, best=written.best))
