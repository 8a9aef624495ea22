"""What a report is made of. All texts are as the run has them: whoever writes a file escapes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be taken as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """``shades``, if given: from 0 to 1 for each cell, green from 0 up and red from 0 down to -1."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Line:
    """One curve: ``points`` as (x, y); ``dots``: single values and no line."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over the epochs."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Thumbnail:
    """An image as PNG, with what is to be said of it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Thumbnails:
    """Images side by side."""

    images: Sequence[Thumbnail]


Part = Heading | Paragraph | Code | Table | Chart | Thumbnails
