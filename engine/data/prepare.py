"""All data of a run: read, checked, decoded, split."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.cache.digests import FileDigests
from engine.cache.folder import cache_root
from engine.cache.rows import Keys
from engine.cache.space import Space
from engine.config import RunConfig
from engine.data import leakage
from engine.data.pictures import Pixels
from engine.data.source import Picture, Source
from engine.data.splits import check_classes, classes_missing, keep_splits, split
from engine.data.store import PictureStore, Spaces, decode_again, decode_all, fingerprints_space, pictures_space
from engine.errors import InputError
from engine.models.architecture import Preprocessing
from engine.progress import Report
from engine.protocol import DataReady, SkippedFile
from engine.rundir import RunFolder, data_label

_MOST_SKIPPED = 0.2  # beyond this share of unreadable files the data are not what the user thinks they are


@dataclass(frozen=True)
class Data:
    """``pictures``, ``keys`` (of their content) and ``store`` go together; ``splits`` holds positions in them."""

    classes: list[str]
    pictures: list[Picture]
    keys: Keys
    store: PictureStore
    splits: dict[str, list[int]]

    @property
    def labels(self) -> list[int]:
        """The class of each picture."""
        return [picture.label for picture in self.pictures]

    def class_counts(self, name: str) -> list[int]:
        """Pictures of each class in a split."""
        count = Counter(self.pictures[i].label for i in self.splits[name])
        return [count[label] for label in range(len(self.classes))]


def prepare_data(
    source: Source,
    config: RunConfig,
    preprocessing: Preprocessing,
    folder: RunFolder,
    report: Report,
    on_problem: Callable[[str, str], None],
) -> tuple[Data, DataReady]:
    """Decode all of ``source`` that the cache does not have, split it, and write splits.csv. Raises InputError.

    ``on_problem`` is given a code and a sentence where the cache or splits.csv can't be used, where the pictures are
    no longer those that the run began with ("data_changed"), where some are in two splits ("leakage"), and where a
    split lacks a class ("class_missing").
    """
    start = time.monotonic()
    side, interpolation = preprocessing.resize_size, preprocessing.interpolation
    root = cache_root()
    label = data_label(config)
    spaces = Spaces(pictures_space(root, side, interpolation, label, on_problem), fingerprints_space(root, label))
    readable, keys, skipped = decode_all(source, side, interpolation, spaces, FileDigests(root), report)
    _check_skipped(skipped, len(source.pictures))
    pictures = [source.pictures[index] for index in readable]
    splits = split(pictures, config.data, config.train.seed)
    splits = keep_splits(folder.splits, splits, pictures, source.classes, on_problem)
    check_classes(splits, pictures, source.classes)
    _look_for_leaks(splits, pictures, keys, spaces.fingerprints, on_problem)
    _look_for_classes(splits, pictures, source.classes, on_problem)

    def again(index: int) -> Pixels:
        return decode_again(source, readable[index], keys[index].item(), side, interpolation)

    data = Data(source.classes, pictures, keys, PictureStore(spaces.pictures, keys, again), splits)
    return data, DataReady(
        classes=data.classes,
        counts={name: len(members) for name, members in splits.items()},
        class_counts={name: data.class_counts(name) for name in splits},
        skipped=skipped,
        seconds=time.monotonic() - start,
    )


def _look_for_leaks(
    splits: dict[str, list[int]],
    pictures: list[Picture],
    keys: Keys,
    fingerprints: Space,
    on_problem: Callable[[str, str], None],
) -> None:
    try:
        rows = np.stack(fingerprints.read(keys))
    except KeyError:  # damaged underneath; the next run makes them anew
        return
    fingerprints.close()
    if leaks := leakage.find_leaks(splits, keys, rows):
        on_problem("leakage", leakage.sentence(leaks, splits, pictures))


def _look_for_classes(
    splits: dict[str, list[int]],
    pictures: list[Picture],
    classes: list[str],
    on_problem: Callable[[str, str], None],
) -> None:
    missing = classes_missing(splits, pictures, classes)
    if missing:
        per_class = Counter(classes[picture.label] for picture in pictures)
        parts = [
            f"{name} has no picture of {len(absent)} of {len(classes)} classes, e.g. of "
            f'"{absent[0]}" ({per_class[absent[0]]} in all)'
            for name, absent in missing.items()
        ]
        on_problem("class_missing", f"{'; '.join(parts)}: how well they are recognised is not measured; add pictures")


def _check_skipped(skipped: list[SkippedFile], total: int) -> None:
    if len(skipped) > _MOST_SKIPPED * total:
        first = skipped[0]
        raise InputError(
            f"{len(skipped)} of {total} pictures can't be read, more than {_MOST_SKIPPED:.0%}; "
            f"the first is {first.path} ({first.reason})"
        )
