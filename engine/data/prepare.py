"""All data of a run: read, checked, decoded, split."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from engine.config import RunConfig
from engine.data.source import Picture, Source
from engine.data.splits import check_classes, split, write_splits
from engine.data.store import PictureStore, decode_all, memory_budget
from engine.errors import InputError
from engine.models.architecture import Preprocessing
from engine.progress import Report
from engine.protocol import DataReady, SkippedFile
from engine.rundir import RunFolder

_MOST_SKIPPED = 0.2  # beyond this share of unreadable files the data are not what the user thinks they are


@dataclass(frozen=True)
class Data:
    """``store`` and ``pictures`` go together; ``splits`` holds positions in both."""

    classes: list[str]
    pictures: list[Picture]
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
    source: Source, config: RunConfig, preprocessing: Preprocessing, folder: RunFolder, report: Report
) -> tuple[Data, DataReady]:
    """Decode all of ``source``, split it, and write splits.csv. Raises InputError."""
    start = time.monotonic()
    store = PictureStore(memory_budget(config.data.cache_gb), folder.path)
    try:
        readable, skipped = decode_all(source, preprocessing.resize_size, preprocessing.interpolation, store, report)
    except OSError as error:
        raise InputError(
            f"decoded pictures do not fit: {error.strerror} in {folder.path}; free space or choose a smaller image_size"
        ) from error
    _check_skipped(skipped, len(source.pictures))
    pictures = [source.pictures[index] for index in readable]
    splits = split(pictures, config.data, config.train.seed)
    check_classes(splits, pictures, source.classes)
    write_splits(folder.splits, splits, pictures, source.classes)
    data = Data(source.classes, pictures, store, splits)
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
