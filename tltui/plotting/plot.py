"""Draws charts as characters. The only module that imports plotext, so that another library can replace it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len

from tltui.plotting.axes import Axis
from tltui.plotting.phase_bands import PhaseBand, Span, name_line, shaded

# The looks of a curve; they differ without colour.
LINE, SCATTER, POINT, BEST, BAND = "line", "scatter", "point", "best", "band"

LABEL_WIDTH = 5
_MARKERS = {
    "braille": {LINE: "braille", SCATTER: "braille", POINT: "●", BEST: "◆", BAND: "░"},
    "hd": {LINE: "hd", SCATTER: "·", POINT: "●", BEST: "◆", BAND: "░"},
    "dot": {LINE: "•", SCATTER: "·", POINT: "o", BEST: "◆", BAND: "░"},
    "ascii": {LINE: "*", SCATTER: ".", POINT: "o", BEST: "@", BAND: ":"},
}
SAMPLES = {"braille": "⠒⠒", "hd": "▄▄", "dot": "••", "ascii": "**"}
_TO_ASCII = str.maketrans({"┤": "|", "│": "|", "┊": ":"})
# plotext carries the style of a cell as one of 256 colours; the first sixteen are left to its own defaults.
_FIRST_CODE = 16
_ANSI = re.compile(r"\x1b\[([\d;]*)m")


@dataclass(frozen=True)
class Curve:
    """Points in data units. ``look`` is LINE, SCATTER, POINT, BEST or BAND; ``style`` names its style."""

    look: str
    style: str
    points: tuple[tuple[float, float], ...]
    name: str = ""


@dataclass(frozen=True)
class Label:
    """Text at a point of the plot, to the left of it where it would not fit to the right."""

    text: str
    style: str
    x: float
    y: float


@dataclass(frozen=True)
class Chart:
    """The content of one plot; equal charts look the same."""

    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    phases: tuple[float, ...] = ()
    bands: tuple[PhaseBand, ...] = ()
    labels: tuple[Label, ...] = ()
    x_labels: bool = True


def columns(width: int) -> int:
    """The columns for curves in a plot of ``width`` cells."""
    return width - LABEL_WIDTH - 1


def rows(height: int, x_labels: bool) -> int:
    """The rows for curves in a plot of ``height`` cells."""
    return height - 1 if x_labels else height


def samples(look: str, marker: str) -> str:
    """A sample of a curve's look, for a legend."""
    if look == LINE:
        return SAMPLES[marker]
    return "··" if look == SCATTER else _MARKERS[marker][look] * (2 if look == BAND else 1)


def draw(chart: Chart, width: int, height: int, marker: str) -> list[list[Span]]:
    """The chart as ``height`` rows of styled spans, each row ``width`` characters."""
    styles = list(dict.fromkeys(["phase", *(c.style for c in chart.curves), *(t.style for t in chart.labels)]))
    codes = {style: _FIRST_CODE + at for at, style in enumerate(styles)}
    height -= len(chart.bands) > 0
    canvas = _canvas(chart, width, height, marker, codes)
    names = {str(code): style for style, code in codes.items()}
    drawn = [_spans(line, names, marker == "ascii") for line in canvas.rstrip("\n").split("\n")]
    if not chart.bands:
        return drawn
    plotted = rows(height, chart.x_labels)
    where = chart.bands, chart.x, LABEL_WIDTH + 1, width
    return [name_line(*where, marker == "ascii"), *shaded(drawn[:plotted], *where), *drawn[plotted:]]


def _canvas(chart: Chart, width: int, height: int, marker: str, codes: dict[str, int]) -> str:
    import plotext  # imported with the first plot: the first screen must open at once

    plotext.clear_figure()
    plotext.limit_size(False, False)  # the terminal is larger than the widget, or absent
    plotext.plot_size(width, height)
    plotext.theme("clear")
    plotext.xaxes(False, False)
    plotext.yaxes(True, False)
    plotext.xlim(chart.x.low, chart.x.high)
    plotext.ylim(chart.y.low, chart.y.high)
    plotext.yticks([at for at, _ in chart.y.ticks], [label.rjust(LABEL_WIDTH) for _, label in chart.y.ticks])
    x_ticks = chart.x.ticks if chart.x_labels else ()
    plotext.xticks([at for at, _ in x_ticks], [label for _, label in x_ticks])
    for at in chart.phases:
        plotext.vline(at, color=codes["phase"])
    # plotext leaves its axes out of a figure without data
    plotext.scatter([chart.x.low], [chart.y.low], marker=" ")
    for curve in chart.curves:
        plot = plotext.plot if curve.look == LINE else plotext.scatter
        look = _MARKERS[marker][curve.look]
        plot([x for x, _ in curve.points], [y for _, y in curve.points], marker=look, color=codes[curve.style])
    middle = (chart.x.low + chart.x.high) / 2
    for text in chart.labels:
        side = "left" if text.x <= middle else "right"
        words = "".join(character if cell_len(character) == 1 else "?" for character in text.text)
        plotext.text(words, min(text.x, chart.x.high), text.y, color=codes[text.style], alignment=side)
    return plotext.build()


def _spans(line: str, names: dict[str, str], ascii_only: bool) -> list[Span]:
    spans: list[Span] = []
    style = "axis"
    for at, part in enumerate(_ANSI.split(line)):
        if at % 2:
            style = names.get(part.rsplit(";", 1)[-1], "axis")
        elif part:
            text = part.replace("│", "┊") if style == "phase" else part
            spans.append((text.translate(_TO_ASCII) if ascii_only else text, style))
    return spans
