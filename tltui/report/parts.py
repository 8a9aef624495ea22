"""The parts of a report. Texts are unescaped: each file format escapes them for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """The title of the parts up to the next heading."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Code:
    """A block of preformatted TOML."""

    text: str


@dataclass(frozen=True)
class Table:
    """``shades`` has a number for each cell: 0 to 1 is green, 0 to -1 red. Empty column names: a list of facts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Line:
    """One curve: ``points`` as (x, y); ``dots``: markers without a line."""

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
    """A PNG with its caption; empty where the image can't be read."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Thumbnails:
    """Images side by side."""

    images: Sequence[Thumbnail]


Part = Heading | Paragraph | Code | Table | Chart | Thumbnails
