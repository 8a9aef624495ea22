"""The interface that every data source returns: labelled samples and how to open each image."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from engine.config.tasks import TASKS, TaskSpec
from engine.data.finding import DatasetFinding
from engine.files.stored_file import LARGEST_FILE, DiskFile, StoredFile


class Sample(NamedTuple):
    """One labelled image.

    ``key`` is its printable path relative to the source. ``label`` is a position in the source's classes.
    ``split`` is "train", "val", "test", or "" while it is undecided.
    ``group`` names what stays in one split, such as a patient; "" where there are no groups.
    ``target`` holds numbers where the task has some, and ``text`` names them in tables. ``label`` is then what a
    stratified split keeps in proportion.
    """

    key: str
    label: int
    split: str
    group: str = ""
    target: tuple[float, ...] = ()
    text: str = ""

    def describe(self, classes: Sequence[str]) -> str:
        """The target as tables write it: the class, the labels or the numbers."""
        return self.text if self.target else classes[self.label]


Strata = Callable[[Sample], int]
"""The stratum of a sample: random splits keep the shares of all strata."""


def label_of(sample: Sample) -> int:
    """The strata of single-label classification: the classes."""
    return sample.label


@dataclass(frozen=True)
class Source:
    """Labelled images of one dataset.

    ``open(index)`` returns an image in the mode and orientation that it is stored in.
    ``file(index)`` is the file that holds this image alone, on disk or in an archive; None where images are not files.
    ``findings`` are warnings about the dataset. ``passed_over`` counts files that are no images, by suffix.
    ``task`` is what its labels are for, a name in ``TASKS``.
    """

    classes: list[str]
    samples: list[Sample]
    open: Callable[[int], Image.Image]
    file: Callable[[int], StoredFile] | None = None
    findings: list[DatasetFinding] = field(default_factory=list)
    task: str = "single"
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def spec(self) -> TaskSpec:
        """The task and its classes."""
        return TaskSpec(self.task, self.classes)


def class_counts(source: Source) -> dict[str, int]:
    """The number of images of each class or label, in their order; 0 for the numbers of a task without classes."""
    shows = TASKS[source.task].shows
    counts = dict.fromkeys(source.classes, 0)
    for sample in source.samples:
        if shows == "class":
            counts[source.classes[sample.label]] += 1
        elif shows == "labels":
            for name, has in zip(source.classes, sample.target, strict=True):
                counts[name] += bool(has)
    return counts


def unique_names(classes: Sequence[str]) -> list[str]:
    """Class names, numbered where several are spelled alike: ``crane``, ``crane (2)``."""
    names: dict[str, None] = {}
    for name in classes:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        free = (new for new in numbered if new not in names and new not in classes)
        names[next(free) if name in names else name] = None
    return list(names)


def select(source: Source, indices: Sequence[int], samples: Sequence[Sample] | None = None) -> Source:
    """The images at ``indices`` as a source; ``samples``: what to call them instead of the source's own."""
    file = source.file
    return replace(
        source,
        samples=[source.samples[at] for at in indices] if samples is None else list(samples),
        open=lambda at: source.open(indices[at]),
        file=file and (lambda at: file(indices[at])),
    )


def from_files(
    classes: list[str], samples: list[Sample], path: Callable[[int], Path], findings: Sequence[DatasetFinding] = ()
) -> Source:
    """A source whose images are files on disk."""
    return from_stored_files(classes, samples, lambda index: DiskFile(path(index)), findings)


def from_stored_files(
    classes: list[str],
    samples: list[Sample],
    file: Callable[[int], StoredFile],
    findings: Sequence[DatasetFinding] = (),
    task: str = "single",
) -> Source:
    """A source whose images are files on disk or in an archive."""

    def open_image(index: int) -> Image.Image:
        return Image.open(io.BytesIO(file(index).read(LARGEST_FILE).content))

    return Source(unique_names(classes), samples, open_image, file, list(findings), task)
