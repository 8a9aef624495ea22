"""Compares the contents of images: exact copies, copies in another class, and a summary of formats and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.data.finding import DatasetFinding, counted
from engine.data.image_facts import ImageFacts
from engine.data.source import Sample
from engine.data.value_range import FEWEST_LEVELS, Quantiles, grey_levels
from engine.models.preprocessing import ValueRange
from engine.runs.dataset_summary import DatasetSummary, Spread

SINGLE = "single"  # the task whose labels exclude each other
_LISTED = 5


@dataclass(frozen=True)
class Contents:
    """The readable images of a dataset: ``samples``, content ``keys`` and ``facts`` are parallel.

    ``classes``: their names, where each image has one class; [] for other tasks, whose labels may differ.
    """

    classes: list[str]
    samples: Sequence[Sample]
    keys: Sequence[bytes]
    facts: Sequence[ImageFacts]
    value_range: ValueRange | None

    @property
    def deep(self) -> list[Quantiles]:
        """The quantiles of the images of more than 8 bits."""
        return [one.quantiles for one in self.facts if one.quantiles is not None]

    def copies(self) -> list[list[int]]:
        """The positions of images with the same content, for each content that occurs more than once."""
        places: dict[bytes, list[int]] = {}
        for at, key in enumerate(self.keys):
            places.setdefault(key, []).append(at)
        return [found for found in places.values() if len(found) > 1]

    def contradictions(self, copies: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Of ``copies`` in several classes, the first and the first of another class."""
        if not self.classes:
            return []
        label = [sample.label for sample in self.samples]
        pairs = ((same[0], next((at for at in same if label[at] != label[same[0]]), None)) for same in copies)
        return [(first, other) for first, other in pairs if other is not None]


def summarize(contents: Contents) -> tuple[DatasetSummary, list[DatasetFinding]]:
    """The summary of a dataset, and findings about it, each with what to do."""
    copies = contents.copies()
    contradictions = contents.contradictions(copies)
    deep, value_range = contents.deep, contents.value_range
    summary = DatasetSummary(
        images=len(contents.samples),
        formats=dict(Counter(one.format or "pixels" for one in contents.facts).most_common()),
        modes=dict(Counter(one.mode for one in contents.facts).most_common()),
        width=_spread([one.width for one in contents.facts]),
        height=_spread([one.height for one in contents.facts]),
        deep=len(deep),
        value_range=value_range if deep else None,
        grey_levels=grey_levels(deep, value_range) if deep and value_range else None,
        copies=sum(len(same) - 1 for same in copies),
        contradictions=len(contradictions),
    )
    return summary, [*_of_values(summary), *_of_contradictions(contents, contradictions)]


def describe_copies(contents: Contents) -> Iterator[DatasetFinding]:
    """A finding about exact copies, also of those that a split keeps together."""
    copies = contents.copies()
    if copies:
        count = sum(len(same) - 1 for same in copies)
        shown = ", ".join(f"{contents.samples[b].key} is {contents.samples[a].key}" for a, b, *_ in copies[:_LISTED])
        found = counted(count, "image is an exact copy", "images are exact copies")
        yield DatasetFinding(
            "copies", f"{found} of others, e.g. {shown}; remove them, so that none counts twice or is in two splits"
        )


def _of_values(summary: DatasetSummary) -> Iterator[DatasetFinding]:
    if summary.grey_levels is not None and summary.grey_levels < FEWEST_LEVELS and summary.value_range:
        low, high = summary.value_range
        yield DatasetFinding(
            "few_grey_levels",
            f"images of more than 8 bits ({summary.deep:,}) use {summary.grey_levels} of 256 grey levels in the "
            f"value range {low:g} to {high:g}; set data.value_range to the values that matter",
        )
    if summary.deep and summary.deep < summary.images:
        yield DatasetFinding(
            "mixed_bits",
            f"{summary.deep:,} of {summary.images:,} images have more than 8 bits; the value range applies to these "
            "alone, so the others may look brighter or darker; convert all alike",
        )
    if cut := summary.modes.get("RGB;16", 0) + summary.modes.get("RGBA;16", 0):
        yield DatasetFinding(
            "colours_cut",
            f"colour images of 16 bits ({cut:,}) are read with the upper 8; convert them to use the lower",
        )


def _of_contradictions(contents: Contents, pairs: Sequence[tuple[int, int]]) -> Iterator[DatasetFinding]:
    if pairs:
        shown = ", ".join(f"{_labelled(contents, first)} is {_labelled(contents, other)}" for first, other in pairs[:5])
        found = counted(len(pairs), "image has", "images have")
        yield DatasetFinding(
            "contradictions", f"{found} an exact copy in another class: {shown}; keep each in one class"
        )


def _labelled(contents: Contents, at: int) -> str:
    sample = contents.samples[at]
    return f"{sample.key} ({contents.classes[sample.label]})"


def _spread(values: Sequence[int]) -> Spread | None:
    return Spread(min(values), int(np.median(values)), max(values)) if values else None
