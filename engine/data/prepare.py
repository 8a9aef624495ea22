"""Loads a run's dataset: decodes, checks and splits it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from engine.cache.eviction import cache_root
from engine.cache.feature_files import Keys
from engine.cache.file_digests import FileDigests
from engine.cache.space import Space
from engine.compute.task import Task, open_task
from engine.config.schema import RunConfig
from engine.data import near_duplicates
from engine.data.image import Pixels
from engine.data.image_cache import (
    ImageCache,
    ImageSpaces,
    fill_cache,
    fingerprints_space,
    images_space,
    memory_budget,
    redecode,
)
from engine.data.source import Sample, Source
from engine.data.splits import assign_splits, check_classes, missing_classes, restore_splits
from engine.errors import InputError
from engine.models.architecture import Preprocessing
from engine.runs.events import DataReady, SkippedFile
from engine.runs.folder import RunFolder, data_label
from engine.runs.progress import Report
from engine.warning_codes import Warn

_MOST_SKIPPED = 0.2  # with more unreadable files than this share, the path or the format is wrong


@dataclass(frozen=True)
class Data:
    """A loaded dataset. ``samples``, content ``keys`` and ``image_cache`` are parallel; ``splits`` holds indices."""

    task: Task
    samples: list[Sample]
    keys: Keys
    image_cache: ImageCache
    splits: dict[str, list[int]]

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
) -> tuple[Data, DataReady]:
    """Decodes what the cache lacks of ``source``, splits it, and writes splits.csv. Raises InputError.

    Warns of the source's findings, of an unusable cache or splits.csv, of images added or removed since the run began
    ("data_changed"), of images in two splits ("leakage"), and of a split without a class ("class_missing").
    ``task``: the run's, with what it took from its training images before; None: it is taken now.
    """
    start = time.monotonic()
    for finding in source.findings:
        warn(*finding)
    data, skipped, fingerprints = decode_images(source, config, preprocessing, report, warn)
    splits = assign_splits(data.samples, config.data, config.train.seed)
    data.splits.update(restore_splits(folder.splits, splits, data.samples, source.classes, warn))
    task = task or data.task.fitted([data.samples[i] for i in data.splits["train"]])
    data = replace(data, task=task)
    if data.has_classes:
        check_classes(data.splits, data.samples, source.classes, task.present)
    _warn_of_leakage(data, fingerprints, warn)
    _warn_of_missing_classes(data, warn)
    return data, DataReady(
        classes=data.classes,
        counts={name: len(members) for name, members in data.splits.items()},
        class_counts={name: data.class_counts(name) for name in data.splits},
        skipped=skipped,
        seconds=time.monotonic() - start,
        task=task.spec.task,
        task_reason=next((one.message for one in source.findings if one.code == "task_guessed"), ""),
        target_mean=task.spec.mean,
        target_std=task.spec.std,
    )


def decode_images(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    report: Report,
    warn: Warn,
) -> tuple[Data, list[SkippedFile], Space]:
    """Decodes what the cache lacks of ``source``; returns unsplit data, skipped files and the fingerprints.

    Raises InputError where too many files are unreadable.
    """
    side, interpolation = preprocessing.resize_size, preprocessing.interpolation
    root = cache_root()
    label = data_label(config)
    memory = memory_budget(config.data.cache_gb)
    images = images_space(root, side, interpolation, label, warn, memory)
    spaces = ImageSpaces(images, fingerprints_space(root, label))
    readable, keys, skipped = fill_cache(source, side, interpolation, spaces, FileDigests(root), report)
    _check_skipped(skipped, len(source.samples))

    def redecode_at(index: int) -> Pixels:
        return redecode(source, readable[index], keys[index].item(), side, interpolation)

    samples = [source.samples[index] for index in readable]
    data = Data(open_task(source.spec), samples, keys, ImageCache(spaces.images, keys, redecode_at), {})
    return data, skipped, spaces.fingerprints


def _warn_of_leakage(data: Data, fingerprints: Space, warn: Warn) -> None:
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


def _check_skipped(skipped: list[SkippedFile], total: int) -> None:
    if len(skipped) > _MOST_SKIPPED * total:
        first = skipped[0]
        raise InputError(
            f"{len(skipped)} of {total} images can't be read, more than {_MOST_SKIPPED:.0%}; "
            f"the first is {first.path} ({first.reason})"
        )
