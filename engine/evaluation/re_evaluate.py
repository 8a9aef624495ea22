"""Evaluates a run's best checkpoint on its own images, or on other images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.compute.batch_fit import Fits, Place
from engine.compute.precision import Precision
from engine.compute.precision_benchmark import choose_precision
from engine.compute.task import LabelledOutputs, open_task
from engine.config.schema import RunConfig
from engine.config.tasks import TASKS, TaskSpec
from engine.config.toml_io import with_setting, with_settings
from engine.data.prepare import Data, decode_images, load_data
from engine.data.source import Sample, Source, select
from engine.data.sources import open_source
from engine.data.split_names import words_for
from engine.data.table_columns import MissingColumn
from engine.errors import InputError
from engine.evaluation.load_run import TrainedRun
from engine.files.escapes import printable
from engine.models.freezing import Freezing
from engine.models.split import split
from engine.runs.events import Evaluated
from engine.runs.progress import Report
from engine.system import devices
from engine.training.feature_loader import FeatureLoader
from engine.training.predict_logits import predict_logits
from engine.warning_codes import Warn

_ALL = "all"  # the split of a dataset without splits


def re_evaluate(
    trained: TrainedRun, split_name: str, other_data: Path | None, device: str, report: Report, warn: Warn
) -> Evaluated:
    """Compute the metrics of a split of the run's dataset, or of ``other_data``.

    ``split_name``: "val", "test", or "" for the test split, else the validation split, else all images.
    ``other_data``: a folder, an archive or a table; without splits all its images count. ``device``: as train.device.

    Raises InputError.
    """
    if not trained.best:
        warn("best_lost", f"the best checkpoint can't be used; evaluating {trained.checkpoint} instead")
    config = with_setting(trained.config, "train.device", device)
    torch_device = devices.choose_device(device)
    precision, frozen_precision = choose_precision(config.train.precision, torch_device, report)
    if other_data:
        config, source = _open_other(config, other_data, trained.task.spec)
        data = _other_images(trained, config, source, split_name, report, warn)
    else:
        source = open_source(config.data)
        if (source.classes, source.task) != (trained.classes, trained.task.spec.task):
            raise InputError(
                f"{config.data.path or config.data.name}: its classes are no longer those of the run; "
                "restore the dataset, or evaluate other images"
            )
        preprocessing = trained.classifier.preprocessing
        data, _ = load_data(source, config, preprocessing, trained.folder, report, warn, trained.task)
    name = split_name or next(split for split in ("test", "val", _ALL) if split in data.splits)
    if name not in data.splits:
        raise InputError(f'these images have no split "{name}"; choose from {", ".join(data.splits)}')
    batches = _logits(trained, data, name, config, precision, frozen_precision, report, warn)
    paths = (data.samples[i].key for i in data.splits[name])
    return trained.task.evaluate(name, batches, paths)


def _open_other(config: RunConfig, path: Path, spec: TaskSpec) -> tuple[RunConfig, Source]:
    """Another dataset than the run's, with labels for its task; of the run's columns those that a table there has.

    Returns ``config`` with the settings that read it. Raises InputError, also where a number of the run is missing.
    """
    elsewhere = {f"data.{name}": "" for name in ("name", "root", "group_column")}
    config = with_settings(config, {"data.source": "auto", "data.path": str(path), "data.task": spec.task, **elsewhere})
    while True:
        try:
            return config, open_source(config.data)
        except MissingColumn as error:
            if spec.std and error.setting == "data.label_column":
                raise
            config = with_setting(config, error.setting, "")


def _other_images(
    trained: TrainedRun, config: RunConfig, source: Source, wanted_split: str, report: Report, warn: Warn
) -> Data:
    for finding in source.findings:
        warn(*finding)
    has_splits = any(image.split for image in source.samples)
    split_name = wanted_split or ("test" if has_splits else _ALL)
    chosen = [at for at, image in enumerate(source.samples) if not has_splits or image.split == split_name]
    if not chosen:
        folders = " or ".join(words_for(split_name))
        raise InputError(f"{config.data.path}: holds no images to evaluate{f' in {folders}/' if has_splits else ''}")
    relabelled = _relabelled([source.samples[at] for at in chosen], source, trained.task.spec, config.data.path)
    selected = replace(select(source, chosen, relabelled), classes=trained.classes)
    data, _, fingerprints = decode_images(selected, config, trained.classifier.preprocessing, report, warn)
    fingerprints.close()
    data.splits[split_name] = list(range(len(data.samples)))
    return replace(data, task=trained.task)


def _relabelled(samples: Sequence[Sample], source: Source, spec: TaskSpec, path: str) -> list[Sample]:
    """``samples`` of ``source`` with positions and numbers in the order of the run's classes. Raises InputError."""
    place = {name: at for at, name in enumerate(spec.classes)}
    known = printable(", ".join(spec.classes[:5]) + (" …" if len(spec.classes) > 5 else ""))
    noun = TASKS[spec.task].noun
    for name in source.classes:
        if name not in place:
            raise InputError(f'{path}: "{printable(name)}" is not a {noun} of the run ({known})')
    present = open_task(source.spec).present
    places = [place[name] for name in source.classes]

    def relabel(sample: Sample) -> Sample:
        target = [0.0] * (len(spec.classes) if sample.target else 0)
        for at, value in zip(places, sample.target, strict=False):  # strict: a sample may have no numbers
            target[at] = value
        label = places[sample.label] if sample.label in present(sample) else sample.label
        return sample._replace(label=label, target=tuple(target), group="")

    return [relabel(sample) for sample in samples]


def _logits(
    trained: TrainedRun,
    data: Data,
    name: str,
    config: RunConfig,
    precision: Precision,
    frozen_precision: Precision,
    report: Report,
    warn: Warn,
) -> Iterator[LabelledOutputs]:
    classifier = trained.classifier
    classifier.module.to(precision.device)
    freezing = Freezing(classifier.module, classifier.head, config.freeze.norm_stats)
    freezing.apply(config.freeze.rules)
    network = classifier.name, classifier.preprocessing.image_size
    fits = Fits(Place(*network, precision.name, frozen_precision.name, precision.device), warn)
    fits.use(config.freeze.rules)
    loader = FeatureLoader(data, classifier, config, precision, frozen_precision, warn, lambda: None, fits)
    parts = split(classifier, freezing)
    loader.set_split(parts, freezing.digests)
    classifier.module.eval()

    def report_batches(done: int, total: int) -> None:
        report("evaluate", done, total, "batches")

    try:
        yield from predict_logits(
            parts, loader, data.splits[name], config.train.batch_size, precision, fits, report_batches
        )
    finally:
        loader.close()
