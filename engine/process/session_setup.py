"""Builds the session of a run: dataset, model, weights, optimizer, and the position of a resumed run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from engine.compute.precision import Precision
from engine.compute.task import Task, open_task
from engine.config import phases
from engine.config.batch_norms import check_single_images
from engine.config.schema import RunConfig
from engine.data.prepare import Data, load_data
from engine.data.source import Source
from engine.data.sources import open_learnable
from engine.errors import InputError
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import describe
from engine.models.registry import Classifier
from engine.models.weights import check_frozen_layers, load_weights
from engine.rng import random_state, restore_rng_state
from engine.runs.events import ModelReady, Resumed, WeightsReport
from engine.runs.folder import write_or_warn
from engine.runs.state import task_spec
from engine.training import checkpoints
from engine.training.checkpointing import restore_checkpoint
from engine.training.distributed import state_tensors
from engine.training.initial_weights import InitialWeights, parameters_digest
from engine.training.rank_data import check_same_data, share_splits
from engine.training.run_context import RunContext
from engine.training.session import Session
from engine.warning_codes import WarningCode


def set_up_session(
    run: RunContext,
    config: RunConfig,
    precision: Precision,
    frozen_precision: Precision,
    checkpoint: Path | None = None,
) -> Session:
    """Build the session of a run. Raises InputError and Stopped. Quick checks come before slow work.

    ``checkpoint``: where a resumed run continues. ``config`` is then the checkpoint's.
    """
    first_step = run.ranks.broadcast_value(lambda: checkpoints.load_trainer(checkpoint).step if checkpoint else 0)
    is_retry = run.replayed.failed
    if is_retry:
        run.replayed.retry_from(first_step)
    source = open_dataset(run, config)
    config = config if checkpoint else phases.initial_config(config)
    classifier = build_model(run, config, open_task(source.spec))
    pretrained, report = load_model_weights(run, config, classifier, checkpoint)
    data = load_images(run, config, source, classifier)
    share_model(run, classifier, precision.device)
    initial_weights = InitialWeights.of_resumed(pretrained, classifier.module) if checkpoint else InitialWeights()
    if config.train.l2_sp and run.ranks.is_main and not initial_weights.known:
        raise InputError(
            f"model.weights = {config.model.weights} no longer gives the weights that train.l2_sp pulls to; restore "
            "that file, or start a new run"
        )
    freezing = Freezing(classifier.module, classifier.head, config.freeze.norm_stats)
    session = Session(run, config, classifier, freezing, data, precision, frozen_precision, initial_weights)
    emit_model(session, report)
    restore(session, checkpoint)
    if is_retry:
        where = f"the checkpoint after step {first_step}" if checkpoint else "the start"
        message = f"steps from {where} to {run.replayed.step} are tried again, with the settings as they are now; "
        run.warn("tries_again", message + "the log keeps their metrics from before the run failed")
    share_random_state(run, precision.device)
    return session


def open_dataset(run: RunContext, config: RunConfig) -> Source:
    """List the dataset's classes and images. Raises InputError where a resumed run's classes have changed."""
    if not run.ranks.is_main:
        share_splits(run.folder, run.ranks)
    source = open_learnable(config.data)
    if run.replayed.data and (run.replayed.data.classes, run.replayed.data.task) != (source.classes, source.task):
        where = config.data.path or config.data.name
        raise InputError(f"{where}: the classes are no longer those of run {run.folder.id}")
    return source


def build_model(run: RunContext, config: RunConfig, task: Task) -> Classifier:
    """Build the network with a new head, and write model.json. Raises InputError for an unfit freeze plan or batch."""
    name, size = config.model.name, config.data.image_size
    tree = describe(name, len(task.outputs), size, config.head, config.data.channels)
    phases.check_plans(config, tree)
    check_single_images(config, tree)
    write_or_warn(run.folder.model, msgspec.json.encode(tree), run.warn)
    classifier = registry.build(name, len(task.outputs), config.head, size, config.data.channels)
    classifier.classes = task.outputs
    return classifier


def load_images(run: RunContext, config: RunConfig, source: Source, classifier: Classifier) -> Data:
    """Decode the images and split them. All processes have the same splits.

    A resumed run keeps the value range and the statistics of its images; a new one takes the range of the settings, or
    measures it.
    """
    earlier = run.replayed.data
    known = earlier.value_range if earlier else config.data.fixed_value_range
    task = open_task(task_spec(earlier)) if earlier else None
    preprocessing = replace(classifier.preprocessing, value_range=known)
    data, data_ready = load_data(
        source, config, preprocessing, run.folder, run.report, run.warn, task, measures=earlier is None
    )
    classifier.preprocessing = replace(preprocessing, value_range=data.value_range)
    if run.ranks.is_main:
        share_splits(run.folder, run.ranks)
    check_same_data(config, data, run.ranks)
    run.log.write(data_ready)
    return data


def load_model_weights(
    run: RunContext, config: RunConfig, classifier: Classifier, checkpoint: Path | None
) -> tuple[dict[str, torch.Tensor] | None, WeightsReport]:
    """Load pretrained weights, or the checkpoint's, in the first process. Raises InputError for unfit ones.

    Returns the state dict with which a resumed run began, if it can be reproduced. Weights are loaded before images,
    so that an unfit file is refused at once.
    """
    pretrained, report = None, WeightsReport(source="the first process")
    module = classifier.module
    if run.ranks.is_main and checkpoint:
        pretrained = _reload_pretrained(run, config, classifier)
        checkpoints.load_weights(checkpoint, module, averaged=False)
        report = WeightsReport(source=str(checkpoint))
    elif run.ranks.is_main:
        report = load_weights(classifier, config.model.weights, run.report)
        check_frozen_layers(classifier, report, config.freeze.rules)
        report.digest = parameters_digest(module)
    return pretrained, report


def share_model(run: RunContext, classifier: Classifier, device: torch.device) -> None:
    """Move the network to ``device`` and give all processes the weights of the first."""
    run.control.check()
    classifier.module.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    run.ranks.broadcast(state_tensors(classifier.module))


def _reload_pretrained(run: RunContext, config: RunConfig, classifier: Classifier) -> dict[str, torch.Tensor] | None:
    """The state dict with which a resumed run began; None, with a warning, if it can no longer be reproduced."""
    module = classifier.module
    try:
        load_weights(classifier, config.model.weights, run.report)
    except InputError as error:
        reason = str(error)
    else:
        if parameters_digest(module) == run.replayed.began_with:
            return {name: tensor.clone() for name, tensor in module.state_dict().items()}
        reason = "its weights file or PyTorch has changed"
    message = "weight change and forgetting since the start can no longer be measured: "
    run.warn("start_unknown", message + reason)
    return None


def emit_model(session: Session, weights: WeightsReport) -> None:
    """Emit the model, and warnings about its weights."""
    classifier = session.classifier
    session.context.log.write(
        ModelReady(
            name=classifier.name,
            parameters=session.freezing.counts(),
            head=classifier.head,
            input_size=classifier.preprocessing.image_size,
            rules=session.config.freeze.rules,
            steps_per_epoch=session.steps_per_epoch,
            weights=weights,
            boundary=session.boundary,
            cached=session.loader.cached_bytes,
        )
    )
    for code, message in _weight_warnings(session, weights):
        session.context.warn(code, message)


def _weight_warnings(session: Session, weights: WeightsReport) -> Iterator[tuple[WarningCode, str]]:
    if weights.missing or weights.unexpected or weights.mismatched:
        odd = [*weights.missing, *weights.unexpected, *weights.mismatched]
        yield (
            "weights_do_not_fit",
            f"{weights.source}: {weights.loaded} tensors loaded, {len(weights.missing)} missing, "
            f"{len(weights.unexpected)} unexpected, {len(weights.mismatched)} of another shape, e.g. {odd[0]}",
        )
    if weights.not_finite:
        yield (
            "weights_not_finite",
            f"{weights.source}: {len(weights.not_finite)} tensors hold NaN or infinity, e.g. {weights.not_finite[0]}; "
            "the network can't give sound predictions with them; load other weights",
        )
    if session.config.model.weights == "none" and session.freezing.counts().frozen:
        message = "layers without pretrained weights are frozen and stay random; train them or load weights"
        yield "random_layers_frozen", message


def restore(session: Session, checkpoint: Path | None) -> None:
    """Restore a checkpoint, if there is one, and emit from where the run is resumed."""
    run = session.context
    if checkpoint:
        restore_checkpoint(session, checkpoint)
    if run.replayed.begun and run.ranks.is_main:
        name = str(checkpoint.relative_to(run.folder.path)) if checkpoint else None
        run.log.write(Resumed(step=session.step, epoch=session.epoch, checkpoint=name, told=run.replayed.step))


def share_random_state(run: RunContext, device: torch.device) -> None:
    """Let all processes continue with the random numbers of the first."""
    restore_rng_state(run.ranks.broadcast_value(lambda: random_state(device)), device)
