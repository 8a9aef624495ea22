"""The phases of a recipe in a plot: a line of names above it, every other phase on another background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len

from tltui.plotting.axes import Axis
from tltui.text.glyphs import ASCII, UNICODE, safe

# A text and the name of its style.
Span = tuple[str, str]
# Suffix of the style of text on the other background.
SHADED = " shaded"


@dataclass(frozen=True)
class PhaseBand:
    """A range of steps: phase ``number`` of a recipe, from 1, and its name."""

    start: float
    end: float
    number: int
    name: str


def name_line(bands: Sequence[PhaseBand], x: Axis, left: int, width: int, ascii_only: bool) -> list[Span]:
    """A line with the bands' names over a plot ``width`` wide whose curves begin at column ``left``.

    Bands differ without colour: each begins with the mark that continues below it, and its line is thin, or thick for
    an even number.
    """
    row: list[Span] = []
    at = 0
    for start, end, band in _columns(bands, x, left, width):
        name = _fitting(band, end - start - 3, ascii_only)
        line = ("-=" if ascii_only else "─━")[band.number % 2 == 0]
        begin = line if band.number == 1 else ":" if ascii_only else "┊"
        row += [(" " * (start - at), "axis"), (begin, "phase"), (name, "phase")]
        row.append((line * (end - start - 1 - len(name)), "phase"))
        at = end
    return [run for run in [*row, (" " * (width - at), "axis")] if run[0]]


def shaded(rows: list[list[Span]], bands: Sequence[PhaseBand], x: Axis, left: int, width: int) -> list[list[Span]]:
    """``rows`` of a plot; the styles of text inside bands of even number get the suffix ``SHADED``."""
    spans = [(start, end) for start, end, band in _columns(bands, x, left, width) if band.number % 2 == 0]
    return [list(_split(row, spans)) for row in rows]


def _columns(bands: Sequence[PhaseBand], x: Axis, left: int, width: int) -> Iterator[tuple[int, int, PhaseBand]]:
    """The first column of each visible band and the one after its last."""
    per_column = (x.high - x.low) / max(width - left - 1, 1)
    reached = left
    for band in bands:
        if band.end <= x.low or band.start >= x.high:
            continue
        start = max(left + round((max(band.start, x.low) - x.low) / per_column), reached)
        end = width if band.end >= x.high else left + round((band.end - x.low) / per_column)
        if start < end:
            yield start, end, band
            reached = end


def _fitting(band: PhaseBand, room: int, ascii_only: bool) -> str:
    """Number and name with a space around them, the number alone, or nothing."""
    number, glyphs = str(band.number), ASCII if ascii_only else UNICODE
    name = "".join(character if cell_len(character) == 1 else "?" for character in safe(band.name))
    if room >= len(number) + 6:
        return f" {safe(f'{number} {name}', room, glyphs.ellipsis)} "
    return number if room + 2 >= len(number) else ""


def _split(row: list[Span], spans: Sequence[tuple[int, int]]) -> Iterator[Span]:
    at = 0
    for text, style in row:
        edges = sorted({at, at + len(text), *(edge for span in spans for edge in span if at < edge < at + len(text))})
        for start, end in pairwise(edges):
            inside = any(first <= start < last for first, last in spans)
            yield text[start - at : end - at], style + SHADED if inside else style
        at += len(text)
