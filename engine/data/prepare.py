"""All data of a run: read, checked, decoded, split."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from engine.cache.eviction import cache_root
from engine.cache.feature_files import Keys
from engine.cache.file_digests import FileDigests
from engine.cache.space import Space
from engine.config.schema import RunConfig
from engine.data import near_duplicates
from engine.data.image import Pixels
from engine.data.image_cache import (
    ImageCache,
    Spaces,
    decode_again,
    decode_all,
    fingerprints_space,
    images_space,
    memory_budget,
)
from engine.data.source import Sample, Source
from engine.data.splits import check_classes, classes_missing, keep_splits, split
from engine.errors import InputError
from engine.models.architecture import Preprocessing
from engine.runs.events import DataReady, SkippedFile
from engine.runs.folder import RunFolder, data_label
from engine.runs.progress import Report
from engine.warning_codes import Warn

_MOST_SKIPPED = 0.2  # beyond this share of unreadable files the data are not what the user thinks they are


@dataclass(frozen=True)
class Data:
    """``images``, ``keys`` (of their content) and ``store`` go together; ``splits`` holds positions in them."""

    classes: list[str]
    images: list[Sample]
    keys: Keys
    store: ImageCache
    splits: dict[str, list[int]]

    @property
    def labels(self) -> list[int]:
        """The class of each image."""
        return [image.label for image in self.images]

    def class_counts(self, name: str) -> list[int]:
        """Images of each class in a split."""
        count = Counter(self.images[i].label for i in self.splits[name])
        return [count[label] for label in range(len(self.classes))]


def prepare_data(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    folder: RunFolder,
    report: Report,
    on_problem: Warn,
) -> tuple[Data, DataReady]:
    """Decode all of ``source`` that the cache does not have, split it, and write splits.csv. Raises InputError.

    ``on_problem`` is given a code and a sentence where the cache or splits.csv can't be used, where the images are
    no longer those that the run began with ("data_changed"), where some are in two splits ("leakage"), and where a
    split lacks a class ("class_missing").
    """
    start = time.monotonic()
    data, skipped, fingerprints = read_images(source, config, preprocessing, report, on_problem)
    splits = split(data.images, config.data, config.train.seed)
    data.splits.update(keep_splits(folder.splits, splits, data.images, source.classes, on_problem))
    check_classes(data.splits, data.images, source.classes)
    _look_for_leaks(data, fingerprints, on_problem)
    _look_for_classes(data, on_problem)
    return data, DataReady(
        classes=data.classes,
        counts={name: len(members) for name, members in data.splits.items()},
        class_counts={name: data.class_counts(name) for name in data.splits},
        skipped=skipped,
        seconds=time.monotonic() - start,
    )


def read_images(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    report: Report,
    on_problem: Warn,
) -> tuple[Data, list[SkippedFile], Space]:
    """Decode all of ``source`` that the cache does not have: the data, not yet split; what was skipped; fingerprints.

    Raises InputError where too much can't be read.
    """
    side, interpolation = preprocessing.resize_size, preprocessing.interpolation
    root = cache_root()
    label = data_label(config)
    memory = memory_budget(config.data.cache_gb)
    prepared = images_space(root, side, interpolation, label, on_problem, memory)
    spaces = Spaces(prepared, fingerprints_space(root, label))
    readable, keys, skipped = decode_all(source, side, interpolation, spaces, FileDigests(root), report)
    _check_skipped(skipped, len(source.images))

    def again(index: int) -> Pixels:
        return decode_again(source, readable[index], keys[index].item(), side, interpolation)

    images = [source.images[index] for index in readable]
    data = Data(source.classes, images, keys, ImageCache(spaces.images, keys, again), {})
    return data, skipped, spaces.fingerprints


def _look_for_leaks(data: Data, fingerprints: Space, on_problem: Warn) -> None:
    try:
        rows = np.stack(fingerprints.read(data.keys))
    except KeyError:  # damaged underneath; the next run makes them anew
        return
    fingerprints.close()
    if leaks := near_duplicates.find_leaks(data.splits, data.keys, rows):
        on_problem("leakage", near_duplicates.sentence(leaks, data.splits, data.images))


def _look_for_classes(data: Data, on_problem: Warn) -> None:
    missing = classes_missing(data.splits, data.images, data.classes)
    if missing:
        per_class = Counter(data.classes[image.label] for image in data.images)
        parts = [
            f"{name} has no image of {len(absent)} of {len(data.classes)} classes, e.g. of "
            f'"{absent[0]}" ({per_class[absent[0]]} in all)'
            for name, absent in missing.items()
        ]
        on_problem("class_missing", f"{'; '.join(parts)}: how well they are recognised is not measured; add images")


def _check_skipped(skipped: list[SkippedFile], total: int) -> None:
    if len(skipped) > _MOST_SKIPPED * total:
        first = skipped[0]
        raise InputError(
            f"{len(skipped)} of {total} images can't be read, more than {_MOST_SKIPPED:.0%}; "
            f"the first is {first.path} ({first.reason})"
        )
