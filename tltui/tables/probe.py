"""Results of linear probes as lines of text with named styles."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from engine.experiments.linear_probe.results import (
    Backbone,
    ImageCounts,
    ProbeResults,
    Recommendation,
    Stage,
)
from tltui.plotting.text_rows import Row
from tltui.text.glyphs import Glyphs, safe
from tltui.text.numbers import number

_NAME = 24  # cells of a stage's or a network's name, at most
_FEATURES = "  {features:>5}  "
_SCORES = "  {accuracy:>6.1%}  {adds:>+6.1%}  {logme:>7.3f}"
_LONGEST_BAR = 70

TITLES = {"head": "train the head alone", "stages": "train the last stages carefully", "everything": "train everything"}

_INTENTION = (
    "A linear probe after every stage of the pretrained network shows where its features tell your classes apart. "
    "The recommendation follows from it: train the new head alone, the last stages, or everything. The network itself "
    "is not trained and no run is created."
)


@dataclass(frozen=True)
class Layout:
    """``width`` in cells."""

    width: int
    glyphs: Glyphs


def probe_page(probed: ProbeResults, layout: Layout) -> list[Row]:
    """The probes' results and the recommendation, without the settings."""
    rows = _wrapped(_summary(probed.images), layout, "note")
    for backbone in probed.backbones:
        rows += [[], *_chart(backbone, layout)]
    if len(probed.backbones) > 1:
        rows += [[], *_ranking(probed.backbones, layout)]
    return [*rows, [], *_recommendation(probed.recommendation, layout)]


def introduction(layout: Layout) -> list[Row]:
    """The purpose of probes, shown while they are fitted."""
    return _wrapped(_INTENTION, layout, "note")


def _summary(images: ImageCounts) -> str:
    return (
        f"Linear probes fitted on {images.used_train:,} of {images.train:,} training images, scored on "
        f"{images.used_val:,} of {images.val:,} validation images of {images.classes:,} classes. "
        f"Standard error of an accuracy: at most {0.5 / math.sqrt(images.used_val):.1%}."
    )


def _chart(backbone: Backbone, layout: Layout) -> Iterator[Row]:
    """A bar for each stage from the input to the head; its bright end is the gain over the stage before."""
    stages = backbone.stages
    floor = min(stages[0].accuracy - stages[0].adds, *(stage.accuracy for stage in stages))
    name = min(max(len(safe(stage.name)) for stage in stages), _NAME)
    beside = name + len(_FEATURES.format(features=0)) + len(_SCORES.format(accuracy=0.0, adds=0.0, logme=0.0))
    bar = min(max(layout.width - beside, 4), _LONGEST_BAR)
    yield [(safe(backbone.model, layout.width // 2), "title"), (f"  {number(backbone.parameters)} parameters", "axis")]
    heading = f"{'stage':<{name}}  {'size':>5}  {f'from {floor:.0%} to 100%':<{bar}.{bar}}"
    yield [(f"{heading}  {'acc.':>6}  {'gain':>6}  {'LogME':>7}", "axis")]
    best = max(stages, key=lambda stage: stage.accuracy)
    for stage in stages:
        yield [
            (f"{safe(stage.name, name):<{name}}", "best" if stage is best else "note"),
            (_FEATURES.format(features=stage.features), "axis"),
            *_bar(stage, floor, bar, layout.glyphs),
            (
                _SCORES.format(accuracy=stage.accuracy, adds=stage.adds, logme=stage.logme),
                "best" if stage is best else "note",
            ),
        ]


def _bar(stage: Stage, floor: float, width: int, glyphs: Glyphs) -> Row:
    def share(accuracy: float) -> float:
        return (accuracy - floor) / (1 - floor) if floor < 1 else 1.0

    full, empty = glyphs.bar(share(stage.accuracy), width)
    before, _ = glyphs.bar(share(stage.accuracy - max(stage.adds, 0.0)), width)
    return [(full[: len(before)], "curve"), (full[len(before) :], "best"), (empty, "axis")]


def _ranking(backbones: list[Backbone], layout: Layout) -> Iterator[Row]:
    name = min(max(len(safe(backbone.model)) for backbone in backbones), layout.width - 36)
    yield [("Networks by LogME at the head's input, highest first", "title")]
    yield [(f"    {'network':<{name}}  {'LogME':>7}  {'acc.':>6}  {'parameters':>10}", "axis")]
    for place, backbone in enumerate(backbones, 1):
        head = backbone.head
        figures = f"  {head.logme:>7.3f}  {head.accuracy:>6.1%}  {number(backbone.parameters):>10}"
        yield [(f"{place:>2}  {safe(backbone.model, name):<{name}}{figures}", "best" if place == 1 else "note")]


def _recommendation(advice: Recommendation, layout: Layout) -> list[Row]:
    rows: list[Row] = [[(f"Recommendation: {TITLES[advice.trains]}", "title")]]
    for reason in advice.reasons:
        rows += _wrapped(safe(reason), layout, "note", "- ")
    return rows


def _wrapped(text: str, layout: Layout, style: str, mark: str = "") -> list[Row]:
    lines = textwrap.wrap(text, min(layout.width, 120), initial_indent=mark, subsequent_indent=" " * len(mark))
    return [[(line, style)] for line in lines]
