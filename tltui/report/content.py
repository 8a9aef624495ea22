"""The content of a report: metrics, curves, freezing, misclassified images, and how to reproduce the run."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator

from engine.config.phases import phase_text
from engine.config.schema import RunConfig, settings
from engine.config.toml_io import to_toml
from engine.diagnosis.diagnose import diagnose
from engine.errors import InputError
from engine.evaluation.metrics import (
    METRICS,
    NUMBER_METRICS,
    formatted_metrics,
    formatted_score,
    headline,
    metric_label,
    named_interval,
    number_texts,
)
from engine.runs.events import Epoch, Evaluated
from engine.runs.folder import RunFolder
from engine.runs.json_floats import decode_float
from engine.runs.run_status import RunStatus
from engine.runs.state import RunState, commands_that_set, settings_of
from tltui.engine_client.images import ImageClient
from tltui.plotting.plan_changes import PlanChange, plan_changes
from tltui.report.parts import Chart, Code, Heading, Line, Paragraph, Part, Table, Thumbnail, Thumbnails
from tltui.runs.predictions import PredictedImage, misclassified_images
from tltui.tables.confusion import LabelMatrix, matrix_of, most_confused
from tltui.tables.dataset import summary_facts
from tltui.tables.evaluation import frozen_line
from tltui.tables.targets import targets
from tltui.text.numbers import number

_MOST_CLASSES = 30  # a larger confusion matrix is a list of its most frequent confusions
_MOST_PAIRS = 30
_MOST_IMAGES = 24
_MOST_POINTS = 1000
_THUMBNAIL = (160, 160)  # pixels


def content(folder: RunFolder, state: RunState, status: RunStatus) -> Iterator[Part]:
    """The parts of the report, in their order."""
    config = folder.load_config()
    yield from _summary(folder, config, state, status)
    yield from _diagnosis(config, state)
    for evaluated in state.evaluations.values():
        yield from _evaluation(evaluated)
    yield from _curves(state)
    yield from _freezing(state)
    yield from _misclassified(folder, state)
    if state.warnings:
        yield Heading("Warnings")
        yield Table(("code", "message"), [(warning.code, warning.message) for warning in state.warnings])
    yield from _settings(folder, config, state)


def _summary(folder: RunFolder, config: RunConfig, state: RunState, status: RunStatus) -> Iterator[Part]:
    yield Heading(f"Run {folder.id}")
    facts: list[tuple[str, str]] = [("status", status)]
    if state.finished:
        facts.append(("reason", state.finished.reason))
        facts.append(("duration", str(datetime.timedelta(seconds=round(state.finished.seconds)))))
    facts.append(("model", config.model.name))
    facts.append(("dataset", config.data.path or config.data.name or config.data.source))
    if state.data:
        counts = ", ".join(f"{count:,} {name}" for name, count in state.data.counts.items())
        facts.append(("images", f"{counts}; {len(state.data.skipped)} skipped; {targets(state.data)}"))
        if state.data.scan:
            facts.extend(summary_facts(state.data.scan))
    if state.started:
        began = datetime.datetime.fromtimestamp(state.started.time).astimezone()
        facts.append(("started", began.isoformat(" ", "seconds")))
        facts.append(("device", f"{state.started.device} ({state.started.device_name}), {state.started.precision}"))
    if best := state.best:
        facts.append(("best epoch", f"{best.epoch} of {len(state.epochs)}: val {_score(best)}"))
    yield Table(("", ""), facts)


def _diagnosis(config: RunConfig, state: RunState) -> Iterator[Part]:
    if found := diagnose(state, config):
        yield Heading("Diagnosis")
    for one in found:
        yield Paragraph(f"{one.case}: {one.sentence}. In another run, {one.anew.words} ({one.anew.assignments}).")


def _evaluation(evaluated: Evaluated) -> Iterator[Part]:
    yield Heading(f"{evaluated.split} {headline(evaluated)}")
    metrics = [f"{label} {value}" for label, value in formatted_metrics(evaluated).items()]
    yield Paragraph(f"{', '.join(filter(None, [named_interval(evaluated), f'{evaluated.count:,} images', *metrics]))}.")
    if evaluated.per_class:
        yield _classes(evaluated)
    if len(evaluated.numbers) > 1:
        headings = [METRICS[name].heading for name in NUMBER_METRICS]
        yield Table(("number", *headings), [(of.label, *number_texts(of).values()) for of in evaluated.numbers])
    matrix = matrix_of(evaluated)
    if matrix.counts:
        yield from _matrix(evaluated.classes, matrix)


def _classes(evaluated: Evaluated) -> Table:
    return Table(
        ("class", "precision", "recall", "F1", "ROC-AUC", "images"),
        [
            (
                of.label,
                f"{of.precision:.3f}",
                f"{of.recall:.3f}",
                f"{of.f1:.3f}",
                _decimals(of.roc_auc),
                f"{of.support:,}",
            )
            for of in evaluated.per_class
        ],
    )


def _matrix(classes: list[str], matrix: LabelMatrix) -> Iterator[Part]:
    if len(classes) > _MOST_CLASSES:
        yield Paragraph(f"The most frequent {'confusions' if matrix.is_confusion else 'pairs of different labels'}:")
        pairs = most_confused(matrix, _MOST_PAIRS)
        yield Table(("true", "predicted", "images"), [(classes[t], classes[p], f"{n:,}") for n, t, p in pairs])
        return
    rows, shades = [], []
    others = -1 if matrix.is_confusion else 0  # no shade: an image may have both labels
    for at, row in enumerate(matrix.counts):
        rows.append([classes[at], *(f"{count:,}" if count else "" for count in row)])
        shades.append([0.0, *(matrix.share(at, of) * (1 if at == of else others) for of in range(len(row)))])
    noun = "classes" if matrix.is_confusion else "labels"
    yield Paragraph(f"Rows are true {noun}, columns predicted ones:")
    yield Table(("", *classes), rows, shades)


def _curves(state: RunState) -> Iterator[Part]:
    if not state.epochs:
        return
    yield Heading("Curves")
    per_epoch = state.model.steps_per_epoch if state.model and state.model.steps_per_epoch else 1
    last = state.steps.last.step if state.steps.last else 0
    buckets = state.steps.series("loss").buckets(0, last, min(max(last, 1), _MOST_POINTS))
    yield Chart(
        "loss",
        [
            Line("train", [(bucket.x / per_epoch, bucket.mean) for bucket in buckets]),
            Line("val", [(e.epoch, e.val_loss) for e in state.epochs if e.val_loss is not None], dots=True),
        ],
    )
    curve = state.curve
    label, score = metric_label(curve), metric_label(state.epochs[-1].score)
    yield Chart(
        label,
        [
            Line("train", [(e.epoch, y) for e in state.epochs if (y := e.train_metric(curve)) is not None]),
            Line("val", [(e.epoch, y) for e in state.epochs if (y := e.val_metric(curve)) is not None], dots=True),
        ],
    )
    yield Table(
        ("epoch", "train loss", f"train {label}", "val loss", f"val {score}", "seconds"),
        [
            (
                str(e.epoch), f"{decode_float(e.train_loss, None):.4f}", formatted_score(curve, e.train_metric(curve)),
                f"{decode_float(e.val_loss, None):.4f}", formatted_score(e.score, e.val_score), f"{e.seconds:.1f}",
            )
            for e in state.epochs
        ],
    )  # fmt: skip


def _score(epoch: Epoch) -> str:
    return f"{metric_label(epoch.score)} {formatted_score(epoch.score, epoch.val_score)}"


def _freezing(state: RunState) -> Iterator[Part]:
    yield Heading("Trainable and frozen layers")
    if counts := state.parameters:
        share = counts.trainable / max(1, counts.total)
        train = f"{number(counts.trainable)} of {number(counts.total)} parameters are trainable ({share:.1%})"
        yield Paragraph(f"{train}; freeze plan: {', '.join(state.rules) or 'no rules, all layers are trainable'}.")
    if changes := plan_changes(state):
        yield Table(("after step", "freeze plan"), [(f"{mark.step:,}", _plan(mark)) for mark in changes])
    if state.finished:
        yield Paragraph(frozen_line(state.finished.frozen))
    if state.changes:
        yield Paragraph("Relative weight change of each stage since the start, ‖W − W₀‖ / ‖W₀‖:")
        yield Table(("stage", "change"), [(name, f"{share:.2%}") for name, share in state.changes[-1].stages.items()])
    if state.forgetting:
        last = state.forgetting[-1]
        yield Paragraph("Similarity of each stage's features to the pretrained ones (linear CKA; 1: identical):")
        yield Table(("stage", "CKA"), [(name, f"{value:.3f}") for name, value in last.cka.items()])
        if last.agreement is not None:
            share = f"{last.agreement:.1%} of {last.images:,} validation images"
            yield Paragraph(f"The pretrained classifier keeps its top-1 prediction on {share}.")


def _plan(mark: PlanChange) -> str:
    return f"phase {mark.phase}: {mark.rules}" if mark.phase else mark.rules


def _misclassified(folder: RunFolder, state: RunState) -> Iterator[Part]:
    found = misclassified_images(folder.predictions, state.data.classes, state.data.task) if state.data else []
    if found:
        numbers = state.data is not None and state.data.task == "regression"
        yield Heading("Largest errors" if numbers else "Misclassified images, most confident first")
        yield Thumbnails(asyncio.run(_thumbnails(folder, found[:_MOST_IMAGES], confidence=not numbers)))


async def _thumbnails(folder: RunFolder, found: list[PredictedImage], *, confidence: bool) -> list[Thumbnail]:
    client = ImageClient(folder.path)
    images = []
    try:
        for one in found:
            sure = f", confidence {one.probability:.1%}" if confidence else ""
            caption = f"{one.path}: {one.true} predicted as {one.predicted}{sure}"
            try:
                images.append(Thumbnail(await client.image(one.path, _THUMBNAIL), caption))
            except InputError as error:
                images.append(Thumbnail(b"", f"{caption} ({error})"))
    finally:
        await client.close()
    return images


def _settings(folder: RunFolder, config: RunConfig, state: RunState) -> Iterator[Part]:
    yield Heading("Reproduce this run")
    values = config.model_dump()
    changed = []
    for key, field in settings():
        section, name = key.split(".")
        if values[section][name] != field.get_default(call_default_factory=True):
            changed.append((key, _value(config, key)))
    yield Paragraph("Settings that differ from the defaults:")
    yield Table(("setting", "value"), changed)
    if commands := commands_that_set(state):
        yield Paragraph("Settings that commands changed during the run; the file below has the earlier ones:")
        rows = [(f"{at.step:,}", key, str(value)) for at in commands for key, value in settings_of(at).items()]
        yield Table(("after step", "setting", "value"), rows)
    versions = state.started.versions if state.started else {}
    yield Paragraph(f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    yield Paragraph("Save the following as run.toml, then run: tltui train run.toml")
    yield Code(to_toml(config, comments=False))


def _value(config: RunConfig, key: str) -> str:
    if key == "recipe.phases":
        return "; then ".join(phase_text(phase) for phase in config.recipe.phases)
    section, name = key.split(".")
    return str(getattr(getattr(config, section), name))


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
