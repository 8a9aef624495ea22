"""A run from its config to its evaluation."""

from __future__ import annotations

import os
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from engine.compute.precision import Precision
from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import RunConfig
from engine.errors import TrainingFailed
from engine.evaluation.evaluate import logistic_regression_on_pixels, write_evaluation
from engine.evaluation.predictions import PredictionsFile
from engine.process.session_setup import set_up_session
from engine.rng import seed_everything
from engine.runs.event_log import EventLog
from engine.runs.events import CommandApplied, FrozenProof, Progress, RunFinished, RunStarted
from engine.runs.folder import RunFolder
from engine.runs.progress import Report, Throttled
from engine.runs.replay import ReplayedLog
from engine.runs.stopped import Stopped
from engine.system import cpu, devices
from engine.training import checkpoints, tensorboard
from engine.training.checkpointing import finish_checkpoints, save_checkpoint
from engine.training.control import Control
from engine.training.distributed import SINGLE_PROCESS, Ranks, state_tensors
from engine.training.loop import fit
from engine.training.rank_control import RankControl
from engine.training.run_context import RunContext
from engine.training.session import Session


def execute_run(
    folder: RunFolder, log: EventLog, control: Control, replayed: ReplayedLog, ranks: Ranks = SINGLE_PROCESS
) -> RunFinished:
    """Set up, train and evaluate the run in ``folder``, or resume it from its last intact checkpoint.

    With several processes the first reads and writes the run's folder; the others get a scratch folder.
    Raises InputError for bad input, and Stopped for a stop before training begins.
    """
    rank_control = RankControl(control, ranks) if ranks.world_size > 1 else control
    run = RunContext(folder, log, rank_control, _reporter(log, rank_control), replayed, ranks)
    cpu.set_up_processor()
    replayed, checkpoint, config = ranks.broadcast_value(lambda: (replayed, *_choose_checkpoint(run)))
    run = replace(run, replayed=replayed)
    if config.log.tensorboard and ranks.is_main:
        log.listeners.append(tensorboard.writer(folder, run.warn))
    device = devices.choose_device(config.train.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    precision, frozen_precision = _choose_precisions(run, config, device)
    seed_everything(config.train.seed)
    log.write(
        RunStarted(
            run=folder.id,
            versions=devices.versions(),
            device=str(device),
            device_name=devices.device_name(device),
            precision=precision.name,
            frozen_precision=frozen_precision.name,
            process_id=os.getpid(),
            seed=config.train.seed,
            epochs=config.train.epochs,
            processes=ranks.world_size,
        )
    )
    session = set_up_session(run, config, precision, frozen_precision, checkpoint)
    try:
        return _train_and_evaluate(session)
    finally:
        session.loader.close()


def _train_and_evaluate(session: Session) -> RunFinished:
    proof = None
    try:
        reason = fit(session)
        proof = session.freezing.verify()
        evaluate_best(session)
    except Stopped as stopped:
        if stopped.command:
            session.context.log.write(CommandApplied(command=stopped.command, step=session.step))
        if proof is None:  # else the network holds the best epoch's weights
            save_checkpoint(session, best=False)
            finish_checkpoints(session)
        return _finished(session, "stopped", f"{stopped} after step {session.step}", 130, proof)
    except TrainingFailed as failure:
        return _finished(session, "failed", str(failure), 1, proof)
    return _finished(session, "completed", reason, 0, proof)


def _choose_checkpoint(run: RunContext) -> tuple[Path | None, RunConfig]:
    """The checkpoint to resume from, if any, and its config, else the run's."""
    checkpoint = checkpoints.newest_intact(run.folder.checkpoints, run.warn)
    return checkpoint, checkpoints.load_config(checkpoint) if checkpoint else run.folder.load_config()


def _choose_precisions(run: RunContext, config: RunConfig, device: torch.device) -> tuple[Precision, Precision]:
    """For trainable and for frozen layers. All processes use those that the first measures to be fastest."""
    name = config.train.precision
    trainable, frozen = run.ranks.broadcast_value(lambda: choose_precision(name, device, run.report))
    return replace(trainable, device=device), replace(frozen, device=device)


def evaluate_best(session: Session) -> None:
    """Evaluate the best checkpoint on validation and test images. The network then holds its weights."""
    run, data = session.context, session.data
    if run.ranks.is_main:
        _load_best_weights(session)
    run.ranks.broadcast(state_tensors(session.classifier.module))
    if session.freezing.adopt():  # the freeze plan has changed since the best epoch
        session.split_network()
    task = data.task
    splits = [name for name in ("val", "test") if name in data.splits]
    for split in splits:
        logits = session.predict_logits(split, "evaluate")
        if not run.ranks.is_main:
            deque(logits, maxlen=0)
            continue
        is_last = split == splits[-1]
        with PredictionsFile(run.folder.predictions, data.classes) if is_last else nullcontext() as predictions:
            paths = (data.samples[i].key for i in data.splits[split])
            evaluated = task.evaluate(split, logits, paths, predictions, tune=split == "val")
        if predictions and predictions.problem:
            run.warn("not_written", predictions.problem)
        task = task.tuned(evaluated) if split == "val" else task
        write_evaluation(run.folder, evaluated, run.warn)
        run.log.write(evaluated)
    if session.config.data.source == "digits" and run.ranks.is_main:
        run.log.write(logistic_regression_on_pixels(data, splits[-1]))


def _load_best_weights(session: Session) -> None:
    folder = session.context.folder.checkpoints
    best = (folder / checkpoints.BEST).resolve().name
    problem = checkpoints.find_damage(folder / best)
    if not problem:
        checkpoints.load_weights(folder / best, session.classifier.module)
        return
    last = checkpoints.newest_intact(folder, session.context.warn)
    if last:
        checkpoints.load_weights(last, session.classifier.module)
    instead = "those of the last checkpoint" if last else "those after the last step"
    session.context.warn("best_lost", f"the best epoch's weights are gone ({problem}); {instead} are evaluated")


def _finished(
    session: Session,
    status: Literal["completed", "stopped", "failed"],
    reason: str,
    exit_code: int,
    proof: FrozenProof | None,
) -> RunFinished:
    best = session.best
    return RunFinished(
        status=status,
        reason=reason,
        seconds=0.0,
        exit_code=exit_code,
        best_epoch=best.epoch if best else None,
        best_val_accuracy=best.val_accuracy if best else None,
        score=best.score if best else "accuracy",
        best_score=best.val_score if best else None,
        frozen=proof or session.freezing.verify(),
    )


def _reporter(log: EventLog, control: Control | RankControl) -> Report:
    """Emits progress a few times a second. Raises Stopped if a stop is requested."""

    def write(activity: str, done: int, total: int, unit: str) -> None:
        log.write(Progress(activity=activity, done=done, total=total, unit=unit))

    write_throttled = Throttled(write)

    def report(activity: str, done: int, total: int, unit: str) -> None:
        control.check()
        write_throttled(activity, done, total, unit)

    return report
