"""A run from its config to its evaluation."""

from __future__ import annotations

import functools
import os
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import torch

from engine.compute.precision import Precision
from engine.compute.precision_benchmark import choose_precision
from engine.config import phases
from engine.config.schema import RunConfig
from engine.data.prepare import load_data
from engine.data.sources import open_source
from engine.errors import InputError, TrainingFailed
from engine.evaluation.evaluate import evaluate, logistic_regression_on_pixels, write_evaluation
from engine.evaluation.predictions import PredictionsFile
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import describe
from engine.models.weights import load_weights
from engine.rng import random_state, restore_rng_state, seed_everything
from engine.runs.event_log import EventLog
from engine.runs.events import (
    CommandApplied,
    Event,
    FrozenProof,
    ModelReady,
    Progress,
    Resumed,
    RunFinished,
    RunStarted,
    Warning,
    WeightsReport,
)
from engine.runs.folder import RunFolder, write_or_warn
from engine.runs.progress import Report, Throttled
from engine.runs.replay import ReplayedLog
from engine.runs.stopped import Stopped
from engine.system import cpu, devices
from engine.training import checkpoints, tensorboard
from engine.training.control import Control
from engine.training.distributed import ALONE, Ranks, tensors_of
from engine.training.initial_weights import StartWeights, digest_of
from engine.training.loop import train
from engine.training.rank_control import SharedControl
from engine.training.rank_data import check_same_data, keep_to_splits
from engine.training.session import Session
from engine.warning_codes import Warn, WarningCode


def carry_out(
    folder: RunFolder, log: EventLog, control: Control, past: ReplayedLog, ranks: Ranks = ALONE
) -> RunFinished:
    """Prepare, train and evaluate the run in ``folder``, or go on with it where its last sound checkpoint has it.

    Of several processes the first reads and writes the run's folder; the others are given a folder that nobody needs.
    Raises InputError for what can't be used and Stopped for a stop before training began.
    """
    obeyed = SharedControl(control, ranks) if ranks.count > 1 else control
    report = _reporter(log, obeyed)
    cpu.set_up_processor()

    warn = functools.partial(_warn, log)
    past, checkpoint, config = ranks.from_first(lambda: (past, *_settings(folder, warn)))
    if config.log.tensorboard and ranks.first:
        log.listeners.append(tensorboard.writer(folder, warn))
    device = devices.choose_device(config.train.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    precision, frozen_precision = _precisions(config, device, ranks, report)
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
            processes=ranks.count,
        )
    )
    session = prepare(folder, log, obeyed, config, precision, frozen_precision, report, past, checkpoint, ranks)
    proof = None
    try:
        reason = train(session, report)
        proof = session.freezing.verify()
        evaluate_best(session, report)
    except Stopped as stopped:
        if stopped.command:
            log.write(CommandApplied(command=stopped.command, step=session.step))
        if proof is None:  # else the network holds the weights of the best epoch
            session.save(best=False)
            session.finish_checkpoints()
        return _finished(session, "stopped", f"{stopped} after step {session.step}", 130, proof)
    except TrainingFailed as failure:
        return _finished(session, "failed", str(failure), 1, proof)
    finally:
        session.feed.close()
    return _finished(session, "completed", reason, 0, proof)


def _settings(folder: RunFolder, warn: Warn) -> tuple[Path | None, RunConfig]:
    """The checkpoint from which a run goes on, and its settings as of there."""
    checkpoint = checkpoints.newest_sound(folder.checkpoints, warn)
    return checkpoint, checkpoints.settings(checkpoint) if checkpoint else folder.load_config()


def _precisions(config: RunConfig, device: torch.device, ranks: Ranks, report: Report) -> tuple[Precision, Precision]:
    """For what trains, and for frozen layers: in all processes those that the first has measured to be fastest."""
    training, frozen = ranks.from_first(lambda: choose_precision(config.train.precision, device, report))
    return replace(training, device=device), replace(frozen, device=device)


def prepare(
    folder: RunFolder,
    log: EventLog,
    control: Control | SharedControl,
    config: RunConfig,
    precision: Precision,
    frozen_precision: Precision,
    report: Report,
    past: ReplayedLog | None = None,
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """Data and model; what can be refused is refused before work that takes long. Raises InputError and Stopped.

    ``checkpoint``: from where a run goes on whose log tells of ``past``; ``config`` then has the settings as of there.
    """
    past = past or ReplayedLog()
    begin_at = ranks.from_first(lambda: checkpoints.load_trainer(checkpoint).step if checkpoint else 0)
    tries_again = past.failed
    if tries_again:
        past.retry_from(begin_at)

    warn = functools.partial(_warn, log)
    if not ranks.first:
        keep_to_splits(folder, ranks)
    source = open_source(config.data)
    if past.classes not in (None, source.classes):
        raise InputError(f"{config.data.path or config.data.name}: the classes are no longer those of run {folder.id}")
    classes = len(source.classes)
    tree = describe(config.model.name, classes, config.data.image_size, config.head)
    config = config if checkpoint else phases.begun(config)
    phases.check_plans(config, tree)
    write_or_warn(folder.model, msgspec.json.encode(tree), warn)

    classifier = registry.build(config.model.name, classes, config.head, config.data.image_size)
    data, data_ready = load_data(source, config, classifier.preprocessing, folder, report, warn)
    if ranks.first:
        keep_to_splits(folder, ranks)
    check_same_data(config, data, ranks)
    log.write(data_ready)
    began_with, weights = None, WeightsReport(source="the first process")
    if ranks.first:
        began_with, weights = _load(classifier, config.model.weights, checkpoint, past, report, warn)
    control.check()
    classifier.module.to(precision.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ranks.share(tensors_of(classifier.module))
    start = StartWeights.left_behind(began_with, classifier.module) if checkpoint else StartWeights()
    freezing = Freezing(classifier.module, classifier.head, config.freeze.norm_stats)
    session = Session(
        folder,
        log,
        control,
        config,
        classifier,
        freezing,
        data,
        precision,
        frozen_precision,
        report,
        past,
        start,
        ranks,
    )
    log.write(
        ModelReady(
            name=classifier.name,
            parameters=freezing.counts(),
            head=classifier.head,
            input_size=classifier.preprocessing.image_size,
            rules=config.freeze.rules,
            steps_per_epoch=session.steps_per_epoch,
            weights=weights,
            boundary=session.boundary,
            cached=session.feed.cached,
        )
    )
    for warning in _warnings(session, weights):
        log.write(warning)
    if checkpoint:
        session.go_on_from(checkpoint)
    if past.begun and ranks.first:
        name = str(checkpoint.relative_to(folder.path)) if checkpoint else None
        log.write(Resumed(step=session.step, epoch=session.epoch, checkpoint=name, told=past.step))
    if tries_again:
        where = f"the checkpoint after step {begin_at}" if checkpoint else "the start"
        message = f"steps from {where} to {past.step} are tried again, with the settings as they are now; "
        warn("tries_again", message + "the log keeps their figures from before the run failed")
    restore_rng_state(ranks.from_first(lambda: random_state(precision.device)), precision.device)
    return session


def _load(
    classifier: registry.Classifier,
    weights: str,
    checkpoint: Path | None,
    past: ReplayedLog,
    report: Report,
    warn: Warn,
) -> tuple[dict[str, torch.Tensor] | None, WeightsReport]:
    """Give a network the weights with which training begins or goes on; those with which it began, if it goes on."""
    if checkpoint:
        began_with = _began_with(classifier, weights, past, report, warn)
        checkpoints.load_weights(checkpoint, classifier.module)
        return began_with, WeightsReport(source=str(checkpoint))
    loaded = load_weights(classifier, weights, report)
    loaded.digest = digest_of(classifier.module)
    return None, loaded


def _began_with(
    classifier: registry.Classifier, weights: str, past: ReplayedLog, report: Report, warn: Warn
) -> dict[str, torch.Tensor] | None:
    """The state dict with which a run began that goes on now, made again as it was made then; None, and a warning,
    where it would not be the same."""
    try:
        load_weights(classifier, weights, report)
    except InputError as error:
        reason = str(error)
    else:
        if digest_of(classifier.module) == past.began_with:
            return {name: tensor.clone() for name, tensor in classifier.module.state_dict().items()}
        reason = "its weights file or PyTorch is another one now"
    message = "how far layers have moved and what they forget can't be told any more: "
    warn("start_unknown", message + reason)
    return None


def evaluate_best(session: Session, report: Report) -> None:
    """Evaluate the best checkpoint on validation and test images. The model then holds its weights."""
    if session.ranks.first:
        _take_best_weights(session)
    session.ranks.share(tensors_of(session.classifier.module))
    if session.freezing.adopt():  # the best epoch was one before a change of plan
        session.cut()
    data = session.data
    splits = [name for name in ("val", "test") if name in data.splits]
    for split in splits:
        if not session.ranks.first:
            deque(session.answers(split, report, "evaluate"), maxlen=0)
            continue
        last = split == splits[-1]
        with PredictionsFile(session.folder.predictions, data.classes) if last else nullcontext() as predictions:
            paths = (data.samples[i].key for i in data.splits[split])
            answers = session.answers(split, report, "evaluate")
            evaluated = evaluate(data.classes, split, answers, paths, predictions)
        if predictions and predictions.problem:
            session.warn("not_written", predictions.problem)
        write_evaluation(session.folder, evaluated, session.warn)
        session.log.write(evaluated)
    if session.config.data.source == "digits" and session.ranks.first:
        session.log.write(logistic_regression_on_pixels(data, splits[-1]))


def _take_best_weights(session: Session) -> None:
    folder = session.folder.checkpoints
    best = (folder / checkpoints.BEST).resolve().name
    problem = checkpoints.damage(folder / best)
    if not problem:
        checkpoints.load_weights(folder / best, session.classifier.module)
        return
    last = checkpoints.newest_sound(folder, session.warn)
    if last:
        checkpoints.load_weights(last, session.classifier.module)
    instead = "those of the last checkpoint" if last else "those after the last step"
    session.warn("best_lost", f"the best epoch's weights are gone ({problem}); {instead} are evaluated")


def _warnings(session: Session, weights: WeightsReport) -> list[Event]:
    """What the user should know about the model before training."""
    found: list[Event] = []
    if weights.missing or weights.unexpected or weights.mismatched:
        odd = [*weights.missing, *weights.unexpected, *weights.mismatched]
        found.append(
            Warning(
                code="weights_do_not_fit",
                message=f"{weights.source}: {weights.loaded} tensors loaded, {len(weights.missing)} missing, "
                f"{len(weights.unexpected)} unexpected, {len(weights.mismatched)} of another kind, e.g. {odd[0]}",
            )
        )
    if weights.not_finite:
        message = (
            f"{weights.source}: {len(weights.not_finite)} tensors hold NaN or infinity, e.g. {weights.not_finite[0]}; "
            "the network can't give sound answers with them; load other weights"
        )
        found.append(Warning(code="weights_not_finite", message=message))
    if session.config.model.weights == "none" and session.freezing.counts().frozen:
        message = "layers without pretrained weights are frozen and stay random; train them or load weights"
        found.append(Warning(code="random_layers_frozen", message=message))
    return found


def _warn(log: EventLog, code: WarningCode, message: str) -> None:
    log.write(Warning(code=code, message=message))


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
        frozen=proof or session.freezing.verify(),
    )


def _reporter(log: EventLog, control: Control | SharedControl) -> Report:
    """Reports progress as events, a few a second, and gives up the work where a stop is wanted."""

    def write(activity: str, done: int, total: int, unit: str) -> None:
        log.write(Progress(activity=activity, done=done, total=total, unit=unit))

    write_some = Throttled(write)

    def report(activity: str, done: int, total: int, unit: str) -> None:
        control.check()
        write_some(activity, done, total, unit)

    return report
