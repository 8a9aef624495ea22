"""True against predicted values of a number, as a scatter plot of characters."""

from __future__ import annotations

from engine.evaluation.metrics import METRICS, number_texts
from engine.runs.events import NumberMetrics
from tltui.plotting import axes, plot
from tltui.plotting.plot import LINE, POINT, SCATTER, Chart, Curve
from tltui.plotting.text_rows import Row, cut
from tltui.text.glyphs import safe

_FEW = 60  # points up to which a larger mark is easier to see than a dot


def scatter(of: NumberMetrics, width: int, height: int, marker: str) -> list[Row]:
    """``height`` rows with the title: a point per image, and the line on which predictions are exact."""
    values = [f"{METRICS[name].heading} {text}" for name, text in number_texts(of).items() if text]
    title: Row = [(safe(of.label, 24), "title"), (f"  predicted (up) by true  {'  '.join(values)}", "axis")]
    if not of.points:
        return [cut(title, width), [("predictions are not finite", "axis")]]
    columns, rows = plot.columns(width), plot.rows(height - 1, x_labels=True)
    true, predicted = zip(*of.points, strict=True)
    low, high = min(*true, *predicted), max(*true, *predicted)
    x = axes.linear(min(true), max(true), max(2, columns // 10))
    y = axes.even(axes.linear(low, high, max(1, (rows - 1) // 2)), rows)
    ends = tuple((at, at) for at in (max(x.low, y.low), min(x.high, y.high)))
    look = POINT if len(of.points) <= _FEW else SCATTER
    chart = Chart(x, y, (Curve(LINE, "exact", ends), Curve(look, "point", tuple(of.points))))
    return [cut(title, width), *plot.draw(chart, width, height - 1, marker)]
