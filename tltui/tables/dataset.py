"""Facts about a dataset in words, shared by the command line, the folder picker and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engine.config.tasks import TASKS
from engine.runs.dataset_summary import DatasetSummary, Spread
from tltui.text.glyphs import safe

if TYPE_CHECKING:
    from engine.data.scan_results import DatasetScan

_LIKE, _IMBALANCED = 1.5, 5
"""Ratios of largest to smallest class: still balanced; imbalanced."""

_PLAIN = ("formats", "modes", "size")  # facts that need no name
_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "RGB": "RGB",
    "RGBA": "RGB with transparency",
    "RGBX": "4 channels",
    "RGB;16": "RGB of 16 bits",
    "RGBA;16": "RGB of 16 bits with transparency",
    "CMYK": "CMYK",
    "F": "floats",
    "I": "grey of 32 bits",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
}


def scan_facts(scan: DatasetScan) -> Iterator[tuple[str, str]]:
    """The facts of a scan as (name, value)."""
    summary = scan.summary
    predicted = len(scan.classes or scan.numbers)
    classes = f" in {predicted:,} classes" if scan.task == "single" else f", {TASKS[scan.task].counted(predicted)}"
    yield "dataset", f"{scan.path} ({scan.source}, task {scan.task})"
    yield "images", f"{summary.images:,}{classes}"
    own = {name: count for name, count in scan.splits.items() if name}
    yield "splits", ", ".join(f"{count:,} {name}" for name, count in own.items()) or "none of its own"
    if scan.groups:
        yield "groups", f"{scan.groups:,}"
    yield from summary_facts(summary)
    if scan.unreadable:
        yield "unreadable", f"{len(scan.unreadable):,}"
    if scan.passed_over:
        yield "other files", ", ".join(f"{count:,} {name or 'no suffix'}" for name, count in scan.passed_over.items())


def summary_facts(summary: DatasetSummary) -> Iterator[tuple[str, str]]:
    """What the images of a dataset hold, as (name, value)."""
    if not summary.images:
        return
    yield "formats", ", ".join(f"{count:,} {name}" for name, count in summary.formats.items())
    modes: dict[str, int] = {}
    for mode, count in summary.modes.items():
        name = _MODES.get(mode, mode)
        modes[name] = modes.get(name, 0) + count
    yield "modes", ", ".join(f"{count:,} {name}" for name, count in modes.items())
    if summary.width and summary.height:
        yield "size", f"{_spread(summary.width)} × {_spread(summary.height)} px"
    if summary.value_range:
        low, high = summary.value_range
        yield "value range", f"{low:g} to {high:g}, {summary.grey_levels} of 256 grey levels"
    if summary.copies:
        yield "copies", f"{summary.copies:,}"
    if summary.contradictions:
        yield "copies in another class", f"{summary.contradictions:,}"


def contents_line(summary: DatasetSummary) -> str:
    """Formats, modes, sizes and values of a dataset's images in one line."""
    facts = summary_facts(summary)
    return "; ".join(value if name in _PLAIN else f"{name} {value}" for name, value in facts)


def balance_line(counts: Mapping[str, int]) -> str:
    """Class balance in a few words; ``counts``: images per class."""
    low, high = min(counts.values()), max(counts.values())
    if low == 0:
        empty = next(name for name, count in counts.items() if not count)
        return f"{safe(empty, 24)} has no images"
    if high >= _IMBALANCED * low:
        return f"imbalanced, up to {high / low:.0f} to 1: consider class weights"
    if high >= _LIKE * low:
        return f"slightly imbalanced, up to {high / low:.1f} to 1"
    return "classes are balanced"


def _spread(values: Spread) -> str:
    if values.least == values.greatest:
        return str(values.least)
    return f"{values.least} to {values.greatest} (median {values.median})"
