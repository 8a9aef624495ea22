"""Applies commands to a training run between two steps."""

from __future__ import annotations

import time
from typing import Any

from engine.config import toml_io
from engine.config.batch_norms import check_single_images
from engine.config.layer_tree import read_layer_tree
from engine.errors import InputError
from engine.runs.commands import AnyCommand, Pause, Resume, SaveCheckpoint, Set, Stop
from engine.runs.events import CommandApplied, CommandRejected
from engine.runs.stopped import Stopped
from engine.training.checkpointing import finish_checkpoints, is_checkpoint_due, save_checkpoint
from engine.training.session import Session

_PAUSE_POLL = 0.05  # seconds between polls for commands while the run is paused


def has_pending_work(session: Session) -> bool:
    """Whether ``apply_commands`` has anything to do, in any of the processes."""
    due = (
        _is_change_due(session)
        or is_checkpoint_due(session)
        or session.step < session.context.replayed.last_replayed_step
    )
    return session.context.ranks.any(due or session.context.control.has_pending() or _has_unreported_refusal(session))


def apply_commands(session: Session) -> None:
    """Apply all commands received, in order, and wait while the run is paused. Raises Stopped.

    While a resumed run replays steps of its log, it applies only the changes recorded there. Commands wait.
    """
    while _is_change_due(session):
        _apply(session, session.pending_changes.popleft().command)
    if is_checkpoint_due(session):
        save_checkpoint(session, best=False)
    run = session.context
    if session.step < run.replayed.last_replayed_step:
        run.report("catch_up", session.step, run.replayed.last_replayed_step, "steps")
        return
    run.replayed.finish_replay()
    while True:
        for command in run.control.take_commands():
            _answer(session, command)
        if _has_unreported_refusal(session):
            session.commands_refused = True
            run.warn("commands_refused", run.control.refused)
        if not session.paused:
            return
        time.sleep(_PAUSE_POLL)


def _is_change_due(session: Session) -> bool:
    return bool(session.pending_changes) and session.pending_changes[0].step <= session.step


def _has_unreported_refusal(session: Session) -> bool:
    return bool(session.context.control.refused) and not session.commands_refused


def _answer(session: Session, command: AnyCommand | str) -> None:
    """Apply a command and emit that it is applied or rejected. A string is a line that is no command."""
    log = session.context.log
    if isinstance(command, str):
        reason = "this line is no command; see the type, key and value of the others"
        log.write(CommandRejected(command=command, reason=reason, step=session.step))
        return
    try:
        _apply(session, command)
    except InputError as error:
        log.write(CommandRejected(command=command, reason=str(error), step=session.step))
        return
    replanned = isinstance(command, Set) and command.key == "freeze.rules"
    counts = session.freezing.counts() if replanned else None
    log.write(CommandApplied(command=command, step=session.step, parameters=counts))
    if replanned:
        session.emit_boundary()
    if isinstance(command, SaveCheckpoint):
        save_checkpoint(session, best=False)
        finish_checkpoints(session)
    if isinstance(command, Stop):
        raise Stopped("stop command")


def _apply(session: Session, command: AnyCommand) -> None:
    match command:
        case Pause():
            if session.paused:
                raise InputError("the run is already paused")
            session.paused = True
        case Resume():
            if not session.paused:
                raise InputError("the run is not paused")
            session.paused = False
        case Set(key=key, value=value):
            _apply_setting(session, key, value)
        case Stop() | SaveCheckpoint():
            pass


def _apply_setting(session: Session, key: str, value: Any) -> None:  # noqa: ANN401 (the sender's; the schema decides)
    changed = toml_io.with_live_setting(session.config, key, value)
    if key == "train.epochs" and changed.train.epochs < session.epoch:
        raise InputError(f"train.epochs = {value} is less than the {session.epoch} epochs that are done")
    if key == "freeze.rules":
        check_single_images(changed, read_layer_tree(session.context.folder.model))
        session.apply_freeze_plan(changed.freeze.rules)
    session.config = changed
