"""Validation curves of many runs in one plot: few are told apart by colour and number, of many the best stands out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tltui.comparing.structs import ComparedRun, Comparison
from tltui.glyphs import safe
from tltui.plotting import axes, plot
from tltui.plotting.axes import Axis
from tltui.plotting.plot import LINE, POINT, Curve, Label, Picture, Run

Row = list[Run]
Points = list[tuple[float, float]]

# So many colours are told apart in every theme; with more runs than that colours would only confuse.
STYLES = ("run1", "run2", "run3", "run4", "run5", "run6")
BEST, OTHER = "best", "other"
ACCURACY, LOSS = "validation accuracy", "validation loss"
# From this ratio of the highest to the lowest loss on, a linear axis would show one run and a flat rest.
_ORDERS = 30.0
_LARGEST = 1e290  # beyond this the ends of axes would be infinite


def style_of(comparison: Comparison, number: int) -> str:
    """The name of the style of a run's curve and number."""
    if len(comparison.runs) <= len(STYLES):
        return STYLES[number - 1]
    return BEST if number == comparison.best else OTHER


def legend(comparison: Comparison, marker: str) -> Row:
    """Which curve is which."""
    sample = plot.samples(LINE, marker)
    if len(comparison.runs) <= len(STYLES):
        parts: Row = []
        for run in comparison.runs:
            parts += [(f"{sample} {run.number}", style_of(comparison, run.number)), (f" {short(run)}   ", "axis")]
        return parts
    others = len(comparison.runs) - (comparison.best is not None)
    row: Row = []
    if comparison.best is not None:
        best = comparison.runs[comparison.best - 1]
        row = [(f"{sample} {best.number}", BEST), (f" {short(best)}, the best   ", "axis")]
    return [*row, (sample, OTHER), (f" {others} others", "axis")]


def short(run: ComparedRun) -> str:
    """As much of a run's id as is said of it in few words."""
    return safe(run.run.split("-")[0], 12)


def chart(comparison: Comparison, which: str, width: int, height: int, marker: str) -> list[Row]:
    """A plot of ``width`` by ``height`` cells with its title; a sentence where no run has an epoch yet."""
    lines = {run.number: _points(run, which) for run in comparison.runs}
    lines = {number: points for number, points in lines.items() if points}
    if not lines:
        return [[(which, "title")], [("after the first epoch", "axis")]]
    columns, rows = plot.columns(width), plot.rows(height - 1, x_labels=True)
    values = [y for points in lines.values() for _, y in points]
    logarithmic = which == LOSS and min(values) > 0 and max(values) / min(values) > _ORDERS
    if logarithmic:
        lines = {number: [(x, math.log10(y)) for x, y in points] for number, points in lines.items()}
    y = _y_axis(which, values, rows, logarithmic=logarithmic)
    x = axes.epochs(max(run.epoch for run in comparison.runs), max(2, columns // 10))
    # numbers stand to the right of where curves end
    x = Axis(x.low, x.high * columns / max(columns - 6, 1), x.ticks)
    curves = [_curve(comparison, number, points, columns) for number, points in lines.items()]
    best_last = sorted(curves, key=lambda curve: curve.style == BEST)
    picture = Picture(x, y, tuple(best_last), labels=tuple(_numbers(comparison, lines, x, y, columns, rows)))
    title: Row = [(which, "title"), ("  log" if logarithmic else "", "axis")]
    return [title, *plot.draw(picture, width, height - 1, marker)]


def _points(run: ComparedRun, which: str) -> Points:
    values = [(at.epoch, at.val_accuracy if which == ACCURACY else at.val_loss) for at in run.curve]
    return [(float(epoch), y) for epoch, y in values if y is not None and abs(y) < _LARGEST]


def _y_axis(which: str, values: Sequence[float], rows: int, *, logarithmic: bool) -> Axis:
    most = max(1, (rows - 1) // 2)
    if which == ACCURACY:
        return axes.even(axes.percent(min(values), max(values), most), rows)
    if logarithmic:
        return axes.logarithmic(min(values), max(values), most)
    return axes.even(axes.linear(min(values), max(values), most), rows)


def _curve(comparison: Comparison, number: int, points: Points, columns: int) -> Curve:
    every = -(-len(points) // (4 * columns))  # braille has two dots beside each other in a cell
    thinned = points[::every] if points[-1] in points[::every] else [*points[::every], points[-1]]
    return Curve(LINE if len(points) > 1 else POINT, style_of(comparison, number), tuple(thinned))


def _numbers(
    comparison: Comparison, lines: dict[int, Points], x: Axis, y: Axis, columns: int, rows: int
) -> Iterable[Label]:
    """The runs' numbers at the ends of their curves, beside each other where curves end in the same place."""
    shown = lines if len(comparison.runs) <= len(STYLES) else {comparison.best: lines.get(comparison.best or 0)}
    column, row = (x.high - x.low) / columns, (y.high - y.low) / rows
    taken: set[tuple[int, int]] = set()
    for number, points in shown.items():
        if points:
            end, value = points[-1]
            at = round((end - x.low) / column) + 1, round((value - y.low) / row)
            while at in taken:
                at = at[0] + 2, at[1]
            taken |= {at, (at[0] + 1, at[1])}
            yield Label(str(number), style_of(comparison, number or 0), x.low + at[0] * column, value)
