"""Validation curves of all runs in one plot: a colour each for few runs, the best ones and a band for many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import quantiles

from engine.evaluation.metrics import is_share, metric_label
from tltui.compare.structs import ComparedRun, Comparison
from tltui.plotting import axes, plot
from tltui.plotting.axes import Axis
from tltui.plotting.plot import BAND, LINE, POINT, Chart, Curve, Label
from tltui.plotting.text_rows import Row
from tltui.text.glyphs import safe

Points = list[tuple[float, float]]

# Every theme has so many distinguishable colours.
STYLES = ("run1", "run2", "run3", "run4", "run5", "run6")
# With more runs than colours the best few and the chosen one are drawn; the others are a band.
_BEST_SHOWN = 3
CHOSEN, OTHER = "chosen", "other"
SCORE, LOSS = "score", "loss"
# Above this ratio of the highest to the lowest loss the axis is logarithmic: a linear one would flatten most runs.
_ORDERS = 30.0
_APART = 3  # cells between the entries of a legend
_LARGEST = 1e290  # beyond this the ends of axes would be infinite


def styles(comparison: Comparison, chosen: int | None = None) -> dict[int, str]:
    """The runs with a curve of their own, best first, and the names of their styles."""
    if len(comparison.runs) <= len(STYLES):
        return {number: STYLES[number - 1] for number in comparison.order}
    shown: dict[int, str] = dict(zip(comparison.order[:_BEST_SHOWN], STYLES, strict=False))
    return shown if chosen is None or chosen in shown else {**shown, chosen: CHOSEN}


def legend(comparison: Comparison, width: int, marker: str, chosen: int | None = None) -> Row:
    """The legend, as far as there is room; run numbers also stand at the ends of curves."""
    shown = styles(comparison, chosen)
    sample = plot.samples(LINE, marker)
    parts: list[Row] = []
    # the chosen run comes before the second best
    for number, style in sorted(shown.items(), key=lambda entry: (entry[0] != comparison.best, entry[1] != CHOSEN)):
        run = comparison.runs[number - 1]
        parts.append([(f"{sample} {run.number}", style), (f" {short(run)}", "axis")])
    others = len(comparison.runs) - len(shown)
    sample_of_band = plot.samples(BAND, marker)
    band: Row = [
        (sample, OTHER),
        (" median, ", "axis"),
        (sample_of_band, "band"),
        (f" 80 % of {others} others", "axis"),
    ]
    last = band if others else []
    room = width - sum(len(text) for text, _ in last)
    row: Row = []
    for part in parts:
        room -= sum(len(text) for text, _ in part) + _APART
        row += [*part, (" " * _APART, "axis")] if room >= 0 else []
    return [*row, *last]


def short(run: ComparedRun) -> str:
    """A run's id up to the first "-"."""
    return safe(run.run.split("-")[0], 12)


def chart(
    comparison: Comparison, which: str, width: int, height: int, marker: str, chosen: int | None = None
) -> list[Row]:
    """A plot of ``width`` by ``height`` cells with its title; without curves before the first epoch."""
    lines = {run.number: points for run in comparison.runs if (points := _points(run, which))}
    if not lines:
        return [[(_title(comparison, which), "title")], [("after the first epoch", "axis")]]
    columns, rows = plot.columns(width), plot.rows(height - 1, x_labels=True)
    shown = {number: style for number, style in styles(comparison, chosen).items() if number in lines}
    others = [points for number, points in lines.items() if number not in shown]
    spread = _spread(others)
    values = [y for number in shown for _, y in lines[number]] + [y for _, *ys in spread for y in ys]
    logarithmic = which == LOSS and min(values) > 0 and max(values) / min(values) > _ORDERS
    if logarithmic:
        lines = {number: [(x, math.log10(y)) for x, y in lines[number]] for number in shown}
        spread = [(x, math.log10(low), math.log10(middle), math.log10(high)) for x, low, middle, high in spread]
    shares = which == SCORE and all(is_share(run.score) for run in comparison.runs if run.curve)
    y = _y_axis(values, rows, shares=shares, logarithmic=logarithmic)
    x = axes.epochs(max(run.epoch for run in comparison.runs), max(2, columns // 10))
    # numbers stand to the right of where curves end
    x = Axis(x.low, x.high * columns / max(columns - 6, 1), x.ticks)
    curves = [Curve(BAND, "band", tuple(_band(spread, x, y, columns, rows)))] if spread else []
    curves += [_curve(OTHER, [(x, middle) for x, _, middle, _ in spread], columns)] if spread else []
    curves += [_curve(style, lines[number], columns) for number, style in reversed(shown.items())]
    ends = {number: (style, lines[number][-1]) for number, style in shown.items()}
    shown = Chart(x, y, tuple(curves), labels=tuple(_numbers(ends, x, y, columns, rows)))
    title: Row = [(_title(comparison, which), "title"), ("  log" if logarithmic else "", "axis")]
    return [title, *plot.draw(shown, width, height - 1, marker)]


def _points(run: ComparedRun, which: str) -> Points:
    values = [(at.epoch, at.val_score if which == SCORE else at.val_loss) for at in run.curve]
    return [(float(epoch), y) for epoch, y in values if y is not None and abs(y) < _LARGEST]


def _title(comparison: Comparison, which: str) -> str:
    """What is plotted: the loss, or the score of all runs by its name."""
    scores = {metric_label(run.score) for run in comparison.runs if run.curve} or {"accuracy"}
    return f"validation {which if which == LOSS or len(scores) > 1 else scores.pop()}"


def _y_axis(values: Sequence[float], rows: int, *, shares: bool, logarithmic: bool) -> Axis:
    most = max(1, (rows - 1) // 2)
    if shares:
        return axes.even(axes.percent(min(values), max(values), most), rows)
    if logarithmic:
        return axes.logarithmic(min(values), max(values), most)
    return axes.even(axes.linear(min(values), max(values), most), rows)


def _spread(curves: Sequence[Points]) -> list[tuple[float, float, float, float]]:
    """For each epoch the 10th percentile, the median and the 90th percentile over the runs that reached it."""
    at: dict[float, list[float]] = {}
    for points in curves:
        for epoch, y in points:
            at.setdefault(epoch, []).append(y)
    found = []
    for epoch, values in sorted(at.items()):
        tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
        found.append((epoch, tenths[0], tenths[4], tenths[8]))
    return found


def _band(
    spread: Sequence[tuple[float, float, float, float]], x: Axis, y: Axis, columns: int, rows: int
) -> Iterator[tuple[float, float]]:
    """A point in the middle of each cell between the 10th and the 90th percentile."""
    row_height = (y.high - y.low) / max(rows - 1, 1)
    for column in range(columns):
        at = x.low + (x.high - x.low) * column / max(columns - 1, 1)
        if spread[0][0] <= at <= spread[-1][0]:
            low, high = _between(spread, at)
            first, last = math.ceil((low - y.low) / row_height - 0.5), math.floor((high - y.low) / row_height + 0.5)
            yield from ((at, y.low + row * row_height) for row in range(max(first, 0), min(last, rows - 1) + 1))


def _between(spread: Sequence[tuple[float, float, float, float]], at: float) -> tuple[float, float]:
    """The band's ends at ``at``, linearly interpolated between epochs."""
    after = next(place for place, (epoch, *_) in enumerate(spread) if epoch >= at)
    right, left = spread[after], spread[max(after - 1, 0)]
    part = (at - left[0]) / (right[0] - left[0]) if right[0] > left[0] else 1.0
    return left[1] + part * (right[1] - left[1]), left[3] + part * (right[3] - left[3])


def _curve(style: str, points: Points, columns: int) -> Curve:
    every = -(-len(points) // (4 * columns))  # braille has two dots beside each other in a cell
    thinned = points[::every] if points[-1] in points[::every] else [*points[::every], points[-1]]
    return Curve(LINE if len(points) > 1 else POINT, style, tuple(thinned))


def _numbers(
    ends: dict[int, tuple[str, tuple[float, float]]], x: Axis, y: Axis, columns: int, rows: int
) -> Iterable[Label]:
    """The runs' numbers at the ends of their curves, beside each other where curves end in the same place."""
    column, row = (x.high - x.low) / max(columns - 1, 1), (y.high - y.low) / max(rows - 1, 1)
    taken: set[tuple[int, int]] = set()
    for number, (style, (end, value)) in ends.items():
        text = str(number)
        at = round((end - x.low) / column) + 1, round((value - y.low) / row)
        while taken & {(at[0] + cell, at[1]) for cell in range(len(text))}:
            at = at[0] + 1, at[1]
        taken |= {(at[0] + cell, at[1]) for cell in range(len(text) + 1)}
        yield Label(text, style, x.low + at[0] * column, y.low + at[1] * row)
