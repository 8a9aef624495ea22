"""What every source of images gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image


class Sample(NamedTuple):
    """``key`` names it: a path, relative to the source, with what can't be printed written out.

    ``split`` is "train", "val", "test" or, undecided, "".
    """

    key: str
    label: int
    split: str


@dataclass(frozen=True)
class Source:
    """Labelled images. ``open(index)`` gives one as PIL does, in whatever mode and orientation it is stored.

    ``file(index)`` is the file that holds this image and nothing else, where there is one.
    """

    classes: list[str]
    images: list[Sample]
    open: Callable[[int], Image.Image]
    file: Callable[[int], Path] | None = None


def distinct(classes: Sequence[str]) -> list[str]:
    """Class names, numbered where several are written alike: ``crane``, ``crane (2)``."""
    names: dict[str, None] = {}
    for name in classes:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        free = (new for new in numbered if new not in names and new not in classes)
        names[next(free) if name in names else name] = None
    return list(names)


def from_files(classes: list[str], images: list[Sample], file: Callable[[int], Path]) -> Source:
    """A source whose images are files."""
    return Source(distinct(classes), images, lambda index: Image.open(file(index)), file)
