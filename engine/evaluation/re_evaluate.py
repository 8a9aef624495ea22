"""A run's best checkpoint on its own images once more, or on others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.compute.batch_fit import Fits, Place
from engine.compute.precision import Precision
from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import RunConfig
from engine.config.toml_io import with_setting
from engine.data.folder_layout import SPLIT_FOLDERS
from engine.data.folder_source import folder_source
from engine.data.prepare import Data, decode_images, load_data
from engine.data.source import Sample, Source
from engine.data.sources import open_source
from engine.errors import InputError
from engine.evaluation.evaluate import Answers, evaluate
from engine.evaluation.load_run import Trained
from engine.files.escapes import printable
from engine.models.freezing import Freezing
from engine.models.split import split
from engine.runs.events import Evaluated
from engine.runs.progress import Report
from engine.system import devices
from engine.training.feature_loader import Feed
from engine.training.predict_logits import answers
from engine.warning_codes import Warn

_ALL = "all"  # the split of images that have none


def evaluate_again(
    trained: Trained, wanted: str, other_data: Path | None, device: str, report: Report, tell: Warn
) -> Evaluated:
    """Figures on the split ``wanted`` of the run's images or, of ``other_data``, on it or on all where it has none.

    ``wanted``: "val", "test" or "": test where there is one. ``device`` as train.device. Raises InputError.
    """
    if not trained.best:
        tell("best_lost", f"the best epoch's weights can't be used; those of {trained.checkpoint} are evaluated")
    config = with_setting(trained.config, "train.device", device)
    where = devices.choose_device(device)
    precision, frozen_precision = choose_precision(config.train.precision, where, report)
    if other_data:
        config = with_setting(with_setting(config, "data.source", "folder"), "data.path", str(other_data))
        data = _other_images(trained, config, wanted, report, tell)
    else:
        source = open_source(config.data)
        if source.classes != trained.classes:
            raise InputError(f"{config.data.path or config.data.name}: the classes are no longer those of the run")
        preprocessing = trained.classifier.preprocessing
        data, _ = load_data(source, config, preprocessing, trained.folder, report, tell)
    name = wanted or next(split for split in ("test", "val", _ALL) if split in data.splits)
    if name not in data.splits:
        raise InputError(f'there is no split "{name}" in these images; they have {", ".join(data.splits)}')
    with_answers = _answers(trained, data, name, config, precision, frozen_precision, report, tell)
    paths = (data.samples[i].key for i in data.splits[name])
    return evaluate(trained.classes, name, with_answers, paths)


def _other_images(trained: Trained, config: RunConfig, wanted: str, report: Report, tell: Warn) -> Data:
    source = folder_source(config.data)
    number = {name: label for label, name in enumerate(trained.classes)}
    for name in source.classes:
        if name not in number:
            known = ", ".join(trained.classes[:5]) + (" …" if len(trained.classes) > 5 else "")
            raise InputError(f'{config.data.path}: "{printable(name)}" is no class of the run ({printable(known)})')
    has_splits = any(image.split for image in source.samples)
    split_name = wanted or ("test" if has_splits else _ALL)
    taken = [at for at, image in enumerate(source.samples) if not has_splits or image.split == split_name]
    if not taken:
        folders = " or ".join(name for name, means in SPLIT_FOLDERS.items() if means == split_name)
        raise InputError(f"{config.data.path}: holds no images to evaluate{f' in {folders}/' if has_splits else ''}")
    images = [source.samples[at] for at in taken]
    relabelled = [Sample(one.key, number[source.classes[one.label]], one.split) for one in images]
    file = source.file
    chosen = Source(
        trained.classes, relabelled, lambda at: source.open(taken[at]), file and (lambda at: file(taken[at]))
    )
    data, _, fingerprints = decode_images(chosen, config, trained.classifier.preprocessing, report, tell)
    fingerprints.close()
    data.splits[split_name] = list(range(len(data.samples)))
    return data


def _answers(
    trained: Trained,
    data: Data,
    name: str,
    config: RunConfig,
    precision: Precision,
    frozen_precision: Precision,
    report: Report,
    tell: Warn,
) -> Iterator[Answers]:
    classifier = trained.classifier
    classifier.module.to(precision.device)
    freezing = Freezing(classifier.module, classifier.head, config.freeze.norm_stats)
    freezing.apply(config.freeze.rules)
    network = classifier.name, classifier.preprocessing.image_size
    fits = Fits(Place(*network, precision.name, frozen_precision.name, precision.device), tell)
    fits.use(config.freeze.rules)
    feed = Feed(data, classifier, config, precision, frozen_precision, tell, lambda: None, fits)
    parts = split(classifier, freezing)
    feed.use(parts, freezing.digests)
    classifier.module.eval()

    def batches(done: int, total: int) -> None:
        report("evaluate", done, total, "batches")

    try:
        yield from answers(parts, feed, data.splits[name], config.train.batch_size, precision, fits, batches)
    finally:
        feed.close()
