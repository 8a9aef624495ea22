"""A learning-rate range test as lines of text with named styles, for the command line and the app."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.experiments.lr_range_test.curve import RATES, Curve, RangeTestResult, RangeTestStep
from tltui.plotting import axes, plot
from tltui.plotting.plot import BEST, LINE, POINT, Chart, Label
from tltui.plotting.text_rows import GAP, Row, beside

Points = Sequence[tuple[float, float]]

PARTS = {"head": "Head", "backbone": "Backbone"}
_CAPTION = 3  # lines beside a chart
_LOWEST, _HIGHEST = 5, 16  # rows of a chart
_WIDE = 110  # from here on the two charts stand beside each other
_HEADROOM = 0.25  # how far above the highest loss before the minimum a curve is shown, as a share of what it falls


@dataclass
class PartialCurves:
    """A test that is running: rates and losses of each part's last sweep."""

    sweeps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    last: RangeTestStep | None = None

    def add(self, tried: RangeTestStep) -> None:
        """Add a step."""
        if self.last is None or (tried.part, tried.sweep) != (self.last.part, self.last.sweep):
            self.sweeps[tried.part] = []
        if tried.loss is not None:
            self.sweeps[tried.part].append((tried.rate, tried.loss))
        self.last = tried


@dataclass(frozen=True)
class Layout:
    """``width`` in cells, ``chart``: rows of each chart, ``marker``: one of plot.SAMPLES."""

    width: int
    chart: int
    marker: str


def chart_rows(width: int, height: int, parts: int) -> int:
    """Rows of each chart so that ``parts`` charts with their captions fit into ``height`` rows, if they can."""
    above_each_other = 1 if width >= _WIDE else parts
    return min(max(height // above_each_other - _CAPTION, _LOWEST), _HIGHEST)


def result_page(found: RangeTestResult, layout: Layout) -> list[Row]:
    """The curves and the suggested learning rates."""
    curves = {name: curve for name in PARTS if (curve := getattr(found, name))}
    side_by_side = len(curves) > 1 and layout.width >= _WIDE
    width = (layout.width - GAP) // 2 if side_by_side else layout.width
    columns = [_part(PARTS[name], curve, width, layout) for name, curve in curves.items()]
    return beside(columns, width) if side_by_side else [row for column in columns for row in column]


def progress_page(under: PartialCurves, layout: Layout) -> list[Row]:
    """The curves so far."""
    rows: list[Row] = []
    for name, points in under.sweeps.items():
        if name in PARTS:
            rows += [[(PARTS[name], "title")], *_chart(points, {}, None, layout.width, layout)]
    return rows


def _part(title: str, curve: Curve, width: int, layout: Layout) -> list[Row]:
    points = list(zip(curve.rates, curve.losses, strict=True))
    marks = {"steepest": curve.steepest, "minimum / 10": curve.minimum_tenth}
    marks = {name: rate for name, rate in marks.items() if rate is not None}
    look = plot.samples(POINT, layout.marker)
    heading: Row = [(f"{title}  ", "title")]
    for name, rate in marks.items():
        heading += [(look, "mark"), (f" {name} {rate:g}  ", "axis")]
    if curve.suggested is not None:
        heading += [(f"{plot.samples(BEST, layout.marker)} {curve.suggested:g}", "best")]
    why = textwrap.wrap(f"Suggested: {curve.why}" if curve.suggested else curve.why.capitalize(), width)
    return [heading, *_chart(points, marks, curve.suggested, width, layout), *([(line, "note")] for line in why)]


def _chart(
    points: Points, marks: Mapping[str, float], suggested: float | None, width: int, layout: Layout
) -> list[Row]:
    """The loss over the logarithm of the rate; where it diverges, the curve is cut."""
    if len(points) < 2:
        return [[("", "axis")]] * layout.chart
    columns, lines = plot.columns(width), plot.rows(layout.chart, x_labels=True)
    losses = [loss for _, loss in points]
    lowest = min(losses)
    before = max(losses[: losses.index(lowest) + 1])
    top = before + _HEADROOM * (before - lowest or 1.0)
    x = axes.logarithmic(RATES[0], RATES[-1], max(2, columns // 12))
    y = axes.even(axes.linear(lowest, min(max(losses), top), max(2, lines // 3)), lines)
    curve = plot.Curve(LINE, "curve", tuple((math.log10(rate), min(loss, y.high)) for rate, loss in points))
    places = [(rate, "mark", POINT) for rate in marks.values()] + ([(suggested, "best", BEST)] if suggested else [])
    on_it = [plot.Curve(look, style, ((math.log10(rate), _at(points, rate)),)) for rate, style, look in places]
    at = [math.log10(suggested)] if suggested else []
    labels = [Label(f" {suggested:g}", "best", place, y.high) for place in at]
    shown = Chart(x, y, (curve, *on_it), phases=tuple(at), labels=tuple(labels))
    return plot.draw(shown, width, layout.chart, layout.marker)


def _at(points: Points, rate: float) -> float:
    """The loss at the tested rate that is nearest to ``rate``."""
    return min(points, key=lambda point: abs(math.log(point[0] / rate)))[1]
