"""Loads a run's dataset: decodes, checks and splits it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from engine.cache.feature_files import Keys
from engine.cache.file_digests import FileDigests
from engine.cache.folder import cache_root
from engine.cache.space import CacheSpace
from engine.compute.task import Task, open_task
from engine.config.schema import RunConfig, check_task_settings
from engine.data import near_duplicates
from engine.data.image import Pixels
from engine.data.image_cache import DecodedSource, ImageCache, fill_cache, memory_budget, open_spaces, redecode
from engine.data.image_contents import SINGLE, Contents, summarize
from engine.data.selection import select_images
from engine.data.source import Sample, Source
from engine.data.splits import assign_splits, check_classes, missing_classes, recorded_splits, restore_splits
from engine.data.unreadable import why_unusable
from engine.errors import InputError
from engine.models.preprocessing import Preprocessing, ValueRange
from engine.runs.events import DataReady
from engine.runs.folder import RunFolder, data_label
from engine.runs.progress import Report
from engine.warning_codes import Warn


@dataclass(frozen=True)
class Data:
    """A loaded dataset. ``samples``, ``keys`` of the pixels and ``image_cache`` are parallel; ``splits`` holds indices.

    ``value_range``: of the images of more than 8 bits; None without any.
    """

    task: Task
    samples: list[Sample]
    keys: Keys
    image_cache: ImageCache
    splits: dict[str, list[int]]
    value_range: ValueRange | None = None

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return self.task.spec.classes

    @cached_property
    def targets(self) -> torch.Tensor:
        """The target of each sample as the task's loss takes it, on the CPU."""
        return self.task.encode(self.samples)

    @property
    def labels(self) -> list[int]:
        """The class of each sample; what a stratified split keeps in proportion where the task has no classes."""
        return [sample.label for sample in self.samples]

    @property
    def has_classes(self) -> bool:
        """Whether images show classes, so that they can be counted."""
        return any(self.task.present(sample) for sample in self.samples)

    def learnable(self, sample: Sample) -> set[int]:
        """The positions of the classes that an image teaches: those it shows, and those with some probability."""
        return {*self.task.present(sample), *(at for at, value in enumerate(sample.target) if value > 0)}

    def class_counts(self, name: str) -> list[int]:
        """The number of images per class in a split; empty where the task has no classes."""
        count = Counter(label for i in self.splits[name] for label in self.task.present(self.samples[i]))
        return [count[label] for label in range(len(self.classes))] if self.has_classes else []


def load_data(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    folder: RunFolder,
    report: Report,
    warn: Warn,
    task: Task | None = None,
    *,
    measures: bool = False,
) -> tuple[Data, DataReady]:
    """Decodes what the cache lacks of the images that ``config`` selects, splits them, and writes splits.csv.

    ``task``: the run's, with what it took from its training images before; None: it is taken now.
    ``measures``: for a new run, whose value range is measured where ``preprocessing`` has none.

    Raises InputError. Warns of findings about the dataset, of an unusable cache or splits.csv, of images added or
    removed since the run began ("data_changed"), of images in two splits ("leakage"), and of a split without a class
    ("class_missing"), and of findings about the contents of the images.
    """
    start = time.monotonic()
    _check_task(source, config)
    recorded = recorded_splits(folder.splits)
    source, findings = select_images(source, config.data, config.train.seed, recorded)
    for finding in (*source.findings, *findings):
        warn(*finding)
    data, decoded, fingerprints = decode_images(source, config, preprocessing, report, warn, measures=measures)
    splits = {} if recorded else assign_splits(data.samples, config.data, config.train.seed)
    data.splits.update(restore_splits(folder.splits, splits, data.samples, source.classes, warn))
    task = task or data.task.fitted([data.samples[i] for i in data.splits["train"]])
    data = replace(data, task=task)
    if data.has_classes:
        check_classes(data.splits, data.samples, source.classes, data.learnable)
    _warn_of_leakage(data, fingerprints, warn)
    _warn_of_missing_classes(data, warn)
    classes = data.classes if source.task == SINGLE else []
    summary, findings = summarize(Contents(classes, data.samples, decoded.contents, decoded.facts, data.value_range))
    for finding in findings:
        warn(*finding)
    return data, DataReady(
        classes=data.classes,
        counts={name: len(members) for name, members in data.splits.items()},
        class_counts={name: data.class_counts(name) for name in data.splits},
        skipped=decoded.skipped,
        seconds=time.monotonic() - start,
        value_range=data.value_range,
        scan=summary,
        task=task.spec.task,
        task_reason=next((one.message for one in source.findings if one.code == "task_guessed"), ""),
        target_mean=task.spec.mean,
        target_std=task.spec.std,
        soft_labels=source.task == SINGLE and any(sample.target for sample in data.samples),
    )


def decode_images(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    report: Report,
    warn: Warn,
    *,
    measures: bool = False,
) -> tuple[Data, DecodedSource, CacheSpace]:
    """Decodes what the cache lacks of ``source``; returns unsplit data, what was read, and the fingerprints.

    Raises InputError where too many files are unreadable. ``measures`` as in ``load_data``.
    """
    root = cache_root()
    spaces = open_spaces(root, preprocessing, data_label(config), warn, memory_budget(config.data.cache_gb))
    decoded = fill_cache(source, preprocessing, spaces, FileDigests(root), report, measures=measures)
    spaces.facts.close()
    if problem := why_unusable(decoded.skipped, len(source.samples)):
        raise InputError(problem)
    readable, keys = decoded.readable, decoded.keys
    preprocessing = replace(preprocessing, value_range=decoded.value_range)

    def redecode_at(index: int) -> Pixels:
        return redecode(source, readable[index], keys[index].item(), preprocessing)

    samples = [source.samples[index] for index in readable]
    cache = ImageCache(spaces.images, keys, redecode_at)
    data = Data(open_task(source.spec), samples, keys, cache, {}, decoded.value_range)
    return data, decoded, spaces.fingerprints


def _check_task(source: Source, config: RunConfig) -> None:
    """Raises InputError for settings that do not fit the task, which the labels may have suggested."""
    try:
        check_task_settings(config, source.task)
    except ValueError as error:
        raise InputError(str(error)) from None


def _warn_of_leakage(data: Data, fingerprints: CacheSpace, warn: Warn) -> None:
    try:
        rows = np.stack(fingerprints.read(data.keys))
    except KeyError:  # damaged during the run; the next run computes them again
        return
    fingerprints.close()
    if leaks := near_duplicates.find_leaks(data.splits, data.keys, rows):
        warn("leakage", near_duplicates.describe_leaks(leaks, data.splits, data.samples))


def _warn_of_missing_classes(data: Data, warn: Warn) -> None:
    missing = missing_classes(data.splits, data.samples, data.classes, data.task.present) if data.has_classes else {}
    if missing:
        per_class = Counter(data.classes[label] for sample in data.samples for label in data.task.present(sample))
        parts = [
            f"{name} has no image of {len(absent)} of {len(data.classes)} classes, e.g. of "
            f'"{absent[0]}" ({per_class[absent[0]]} in all)'
            for name, absent in missing.items()
        ]
        warn("class_missing", f"{'; '.join(parts)}: the metrics leave these classes out; add images")
