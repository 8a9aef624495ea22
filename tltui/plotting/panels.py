"""The panels of curves. Each is one entry of PANELS: its curves, axes and legend, from a run's series to a Chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from engine.evaluation.metrics import is_share, metric_label
from engine.runs.state import RunState
from engine.runs.time_series import Series
from tltui.plotting import axes, plot
from tltui.plotting.axes import Axis
from tltui.plotting.eta import planned_steps, steps_per_epoch
from tltui.plotting.plan_changes import PlanChange, phase_bands, plan_changes
from tltui.plotting.plot import BEST, LINE, POINT, SCATTER, Chart, Curve, Label
from tltui.plotting.run_series import RunSeries
from tltui.plotting.series_feed import smoothed
from tltui.text.glyphs import safe

LINE_STYLES = ("train", "val", "best")  # of up to MAX_LINES named lines
_MIN_ROWS_WITH_BANDS = 6  # in a lower plot curves need every row
_LABEL_WIDTH = 18  # cells
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class View:
    """How curves are shown. ``smoothing`` is a share of the visible steps; ``epochs`` the last visible ones, 0: all."""

    smoothing: float = 0.02
    log: bool = False
    epochs: int = 0


@dataclass(frozen=True)
class Window:
    """The visible steps and the plot columns that they are drawn in."""

    left: float
    right: float
    columns: int


@dataclass(frozen=True)
class Panel:
    """One plot.

    - ``curves``: from the run's series, in data units
    - ``legend``: (look, style, name) of each curve
    - ``shares``: values are shares of one
    - ``metric``: its values are those of the metric that the run computes for training and validation images; they are
      shares if the metric is
    - ``orders``: values differ by orders of magnitude
    - ``noisy``: a value a step, so that smoothing helps
    - ``names_changes``: changes of the freeze plan by command are named in it
    """

    name: str
    curves: Callable[[RunSeries, View, Window], Iterable[Curve]]
    legend: tuple[tuple[str, str, str], ...] = ()
    shares: bool = False
    orders: bool = False
    noisy: bool = False
    names_changes: bool = False
    metric: bool = False

    def title(self, state: RunState) -> str:
        """The name, or that of the run's metric."""
        return metric_label(state.curve) if self.metric else self.name

    def has_shares(self, state: RunState) -> bool:
        """Whether its values are shares of one for this run."""
        return is_share(state.curve) if self.metric else self.shares

    def is_log(self, view: View, state: RunState) -> bool:
        """Whether its y axis is logarithmic."""
        return self.orders or (view.log and not self.has_shares(state))


def _loss(series: RunSeries, view: View, window: Window) -> Iterator[Curve]:
    yield from _noisy(series.state.steps.series("loss"), view, window)
    yield _curve(POINT, "val", series.epochs("val_loss"), window)


def _accuracy(series: RunSeries, _view: View, window: Window) -> Iterator[Curve]:
    name = series.state.curve
    yield _curve(LINE, "train", series.train_metric(name), window)
    yield _curve(POINT, "val", series.val_metric(name), window)
    best = series.state.best
    value = best and best.val_metric(name)
    if best is not None and value is not None and window.left <= best.step <= window.right:
        yield Curve(BEST, "best", ((best.step, value),))


def _learning_rate(series: RunSeries, _view: View, window: Window) -> Iterator[Curve]:
    return _named(series.learning_rates(), window)


def _gradient_norm(series: RunSeries, view: View, window: Window) -> Iterator[Curve]:
    return _noisy(series.state.steps.series("grad_norm"), view, window)


def _weight_change(series: RunSeries, _view: View, window: Window) -> Iterator[Curve]:
    return _named(series.weight_changes(), window)


def _forgetting(series: RunSeries, _view: View, window: Window) -> Iterator[Curve]:
    yield from _named(series.similarities(), window)
    yield _curve(POINT, "val", series.agreement(), window)


_TRAIN, _VAL, _BEST = (LINE, "train", "train"), (POINT, "val", "val"), (BEST, "best", "best")
LOSS = Panel("loss", _loss, (_TRAIN, _VAL), noisy=True, names_changes=True)
ACCURACY = Panel("accuracy", _accuracy, (_TRAIN, _VAL, _BEST), metric=True)
RATE = Panel("learning rate", _learning_rate)
GRADIENT = Panel("gradient norm", _gradient_norm, (_TRAIN,), noisy=True)
CHANGE = Panel("weight change", _weight_change, orders=True)
FORGETTING = Panel("forgetting", _forgetting, ((LINE, "train", "CKA"), (POINT, "val", "same top-1")), shares=True)
PANELS = (LOSS, ACCURACY, RATE, GRADIENT, CHANGE, FORGETTING)


def visible_steps(state: RunState, view: View) -> tuple[float, float]:
    """The first and last visible step: ends of epochs, so that the axis does not move within an epoch."""
    done = state.steps.last.step if state.steps.last else 0
    per_epoch = steps_per_epoch(state)
    if view.epochs and per_epoch:
        end = max(1, math.ceil(done / per_epoch - 1e-9))
        return max(0, end - view.epochs) * per_epoch, end * per_epoch
    return 0.0, max(planned_steps(state), 1)


def panel_chart(
    panel: Panel, series: RunSeries, view: View, width: int, height: int, *, x_labels: bool = True
) -> Chart | None:
    """The chart of ``panel`` in ``width`` by ``height`` cells; None before there is a value."""
    state = series.state
    rows = plot.rows(height, x_labels)
    window = Window(*visible_steps(state, view), plot.columns(width))
    curves = list(panel.curves(series, view, window))
    if panel.is_log(view, state):
        curves = [_logarithms(curve) for curve in curves]
    values = [y for curve in curves for _, y in curve.points]
    if not values:
        return None
    changes = plan_changes(state)
    bands = tuple(phase_bands(state, changes)) if height >= _MIN_ROWS_WITH_BANDS else ()
    rows -= len(bands) > 0
    y = _y_axis(panel, view, values, rows, state)
    drawn = tuple(_rounded(curve, y, rows) for curve in curves)
    changes = [change for change in changes if window.left < change.step < window.right]
    return Chart(
        axes.steps(window.left, window.right, steps_per_epoch(state), max(2, window.columns // 10)),
        y,
        drawn,
        phases=tuple(float(change.step) for change in changes),
        bands=bands,
        labels=tuple(_labels(panel, changes, drawn, y, (window.right - window.left) / window.columns)),
        x_labels=x_labels,
    )


def _curve(look: str, style: str, series: Series, window: Window, name: str = "") -> Curve:
    return Curve(look, style, tuple(_extremes(series, window)), name)


def _named(lines: Mapping[str, Series], window: Window) -> Iterator[Curve]:
    for style, (name, series) in zip(LINE_STYLES, lines.items(), strict=False):
        yield _curve(LINE, style, series, window, safe(name, _LABEL_WIDTH))


def _noisy(series: Series, view: View, window: Window) -> Iterator[Curve]:
    """The values, and over them their moving average; without smoothing the values as a line."""
    raw = tuple(_extremes(series, window))
    if not view.smoothing:
        yield Curve(LINE, "train", raw)
        return
    count = 2 * window.columns  # a braille cell is two dots wide
    part = (window.right - window.left) / count
    # The steps just before the window count too, or zooming would restart the average.
    before = min(int(window.left / part), math.ceil(3 * view.smoothing * count))
    buckets = series.buckets(window.left - before * part, window.right, count + before)
    averages = smoothed(buckets, max(view.smoothing * count, 1.0))
    yield Curve(SCATTER, "raw", raw)
    line = tuple((window.left + (at - before + 0.5) * part, value) for at, value in averages if at >= before)
    yield Curve(LINE, "train", line)


def _extremes(series: Series, window: Window) -> Points:
    """The lowest and highest value of each column, the one nearer to the last point first."""
    points: Points = []
    for bucket in series.buckets(window.left, window.right, window.columns):
        pair = [bucket.low, bucket.high]
        if points and abs(points[-1][1] - bucket.high) < abs(points[-1][1] - bucket.low):
            pair.reverse()
        points += [(bucket.x, y) for y in dict.fromkeys(pair)]
    return points


def _logarithms(curve: Curve) -> Curve:
    return replace(curve, points=tuple((x, math.log10(y)) for x, y in curve.points if 1e-300 < y < 1e300))


def _y_axis(panel: Panel, view: View, values: list[float], rows: int, state: RunState) -> Axis:
    low, high, most = min(values), max(values), max(1, (rows - 1) // 2)
    if panel.has_shares(state):
        return axes.even(axes.percent(low, high, most), rows)
    if panel.is_log(view, state):
        return axes.logarithmic(10**low, 10**high, most)
    return axes.even(axes.linear(low, high, most), rows)


def _rounded(curve: Curve, y: Axis, rows: int) -> Curve:
    """The curve in half dots of the plot: a change that is too small to see leaves the chart equal."""
    unit = (y.high - y.low) / (8 * rows)
    return replace(curve, points=tuple((x, y.low + round((value - y.low) / unit) * unit) for x, value in curve.points))


def _labels(panel: Panel, changes: list[PlanChange], curves: Iterable[Curve], y: Axis, cell: float) -> Iterable[Label]:
    """The names of lines at their ends, and of plans set by command at the top of the plot."""
    for curve in curves:
        if curve.name and curve.points:
            yield Label(curve.name, curve.style, curve.points[-1][0] + 2 * cell, curve.points[-1][1])
    if panel.names_changes:
        for change in changes:
            if not change.phase:
                yield Label(safe(change.rules, _LABEL_WIDTH), "phase", change.step + 2 * cell, y.high)
