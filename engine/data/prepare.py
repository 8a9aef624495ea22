"""All data of a run: read, checked, decoded, split."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from engine.cache.digests import FileDigests
from engine.cache.folder import cache_root
from engine.cache.rows import Keys
from engine.config import RunConfig
from engine.data.source import Picture, Source
from engine.data.splits import check_classes, keep_splits, split
from engine.data.store import PictureStore, decode_all, pictures_space
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

    ``on_problem`` is given a code and a sentence where the cache or splits.csv can't be used.
    """
    start = time.monotonic()
    side, interpolation = preprocessing.resize_size, preprocessing.interpolation
    root = cache_root()
    space = pictures_space(root, side, interpolation, data_label(config), on_problem)
    readable, keys, skipped = decode_all(source, side, interpolation, space, FileDigests(root), report)
    _check_skipped(skipped, len(source.pictures))
    pictures = [source.pictures[index] for index in readable]
    splits = split(pictures, config.data, config.train.seed)
    splits = keep_splits(folder.splits, splits, pictures, source.classes, on_problem)
    check_classes(splits, pictures, source.classes)
    data = Data(source.classes, pictures, keys, PictureStore(space, keys), splits)
    return data, DataReady(
        classes=data.classes,
        counts={name: len(members) for name, members in splits.items()},
        class_counts={name: data.class_counts(name) for name in splits},
        skipped=skipped,
        seconds=time.monotonic() - start,
    )


def _check_skipped(skipped: list[SkippedFile], total: int) -> None:
    if len(skipped) > _MOST_SKIPPED * total:
        first = skipped[0]
        raise InputError(
            f"{len(skipped)} of {total} pictures can't be read, more than {_MOST_SKIPPED:.0%}; "
            f"the first is {first.path} ({first.reason})"
        )
