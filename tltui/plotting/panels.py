"""What is plotted of a run: each panel's curves, axes and legend, from its state to a Chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Generic

from engine.runs import events as p
from engine.runs.state import RunState, StageChanges, changes_of_settings, rules_set
from engine.runs.time_series import Series
from tltui.plotting import axes, plot
from tltui.plotting.axes import Axis
from tltui.plotting.eta import planned_steps, steps_per_epoch
from tltui.plotting.phase_bands import PhaseBand
from tltui.plotting.plot import BEST, LINE, POINT, SCATTER, Chart, Curve, Label
from tltui.plotting.series_feed import EventSeries, T, smoothed
from tltui.text.glyphs import safe

# More lines than this are not told apart in a few rows; the highest and the lowest say where the others lie.
LINES_SHOWN = 3
LINE_STYLES = ("train", "val", "best")
# In a lower plot curves need every row.
_FEWEST_ROWS_WITH_BANDS = 6
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class View:
    """How one looks at the curves: ``smoothing`` as a share of the visible range, ``epochs`` 0 for the whole run."""

    smoothing: float = 0.02
    log: bool = False
    epochs: int = 0


@dataclass(frozen=True)
class Panel:
    """One plot. ``legend`` holds (look, style, name) of each curve.

    ``shares``: its values are shares of one; ``orders``: they differ by orders of magnitude; ``noisy``: a value a step,
    so that smoothing helps.
    """

    name: str
    legend: tuple[tuple[str, str, str], ...]
    shares: bool = False
    orders: bool = False
    noisy: bool = False

    def is_log(self, view: View) -> bool:
        """Whether its values stand on a logarithmic axis."""
        return self.orders or (view.log and not self.shares)


LOSS = Panel("loss", ((LINE, "train", "train"), (POINT, "val", "val")), noisy=True)
ACCURACY = Panel("accuracy", ((LINE, "train", "train"), (POINT, "val", "val"), (BEST, "best", "best")), shares=True)
RATE = Panel("learning rate", ())
GRADIENT = Panel("gradient norm", ((LINE, "train", "train"),), noisy=True)
CHANGE = Panel("weight change", (), orders=True)
FORGETTING = Panel("forgetting", ((LINE, "train", "CKA"), (POINT, "val", "same answers")), shares=True)
PANELS = (LOSS, ACCURACY, RATE, GRADIENT, CHANGE, FORGETTING)


class RunSeries:
    """The series of one run. A series is only read from the events once a panel shows it."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._epochs: dict[str, EventSeries[p.Epoch]] = {}
        self._changes = NamedSeries[StageChanges](attrgetter("stages"))
        self._similarities = NamedSeries[p.Forgetting](attrgetter("cka"))
        self._agreement = EventSeries[p.Forgetting](attrgetter("agreement"))

    def epochs(self, name: str) -> Series:
        """A field of the epochs."""
        return self._epochs.setdefault(name, EventSeries(attrgetter(name))).follow(self.state.epochs)

    def rates(self) -> dict[str, Series]:
        """The learning rate of each parameter group."""
        last, rates = self.state.steps.last, self.state.steps.rates()
        return {group: rates[group] for group in _highest(rates, last.lr if last else {})}

    def changes(self) -> dict[str, Series]:
        """How far the weights of each stage have moved, relative to what they were."""
        return self._changes.follow(self.state.changes)

    def similarities(self) -> dict[str, Series]:
        """How alike the features of each stage are to the pretrained ones (CKA)."""
        return self._similarities.follow(self.state.forgetting)

    def agreement(self) -> Series:
        """How often the original classifier still gives its first answer."""
        return self._agreement.follow(self.state.forgetting)


class NamedSeries(Generic[T]):
    """Series by name that follow a growing list of events, each with a value for some of the names."""

    def __init__(self, values: Callable[[T], Mapping[str, float]]) -> None:
        self._values = values
        self._feeds: dict[str, EventSeries[T]] = {}
        self._seen = 0

    def follow(self, events: Sequence[T]) -> dict[str, Series]:
        """The one with the highest value now first; at most ``LINES_SHOWN`` of them."""
        for name in set().union(*map(self._values, events[self._seen :])) - self._feeds.keys():
            self._feeds[name] = EventSeries(self._value_of(name))
        self._seen = len(events)
        latest = self._values(events[-1]) if events else {}
        return {name: self._feeds[name].follow(events) for name in _highest(self._feeds, latest)}

    def _value_of(self, name: str) -> Callable[[T], float | None]:
        return lambda event: self._values(event).get(name)


def _highest(names: Iterable[str], latest: Mapping[str, float]) -> list[str]:
    """The names with the highest values first; at most ``LINES_SHOWN``, the lowest among them."""
    found = sorted(names, key=lambda name: (-latest.get(name, 0.0), name))
    return [*found[: LINES_SHOWN - 1], found[-1]] if len(found) > LINES_SHOWN else found


@dataclass(frozen=True)
class PlanChange:
    """After ``step`` another freeze plan is in force, which has these ``rules`` more; ``phase``: of the recipe, 0 where
    a command changed it."""

    step: int
    rules: str
    phase: int = 0


def plan_changes(state: RunState) -> list[PlanChange]:
    """Where the freeze plan changed and where phases of the recipe began, in order."""
    found: list[PlanChange] = []
    before = ["freeze *"] if state.phases else state.model.rules if state.model else []
    for event in changes_of_settings(state):
        rules = event.rules if isinstance(event, p.Phase) else rules_set(event)
        if rules is not None:
            added = [rule for rule in rules if rule not in before] or rules[-1:] or ["train *"]
            found.append(PlanChange(event.step, ", ".join(added), event.number if isinstance(event, p.Phase) else 0))
            before = rules
    return found


def phase_bands(state: RunState, marks: Iterable[PlanChange]) -> Iterator[PhaseBand]:
    """The steps that each phase of the recipe took, or will have taken."""
    begun = [mark for mark in marks if mark.phase]
    per_epoch = steps_per_epoch(state)
    for at, (mark, event) in enumerate(zip(begun, state.phases, strict=True)):
        planned = math.inf if mark.phase == event.phases else mark.step + event.epochs * per_epoch
        end = begun[at + 1].step if at + 1 < len(begun) else planned
        yield PhaseBand(mark.step, end, mark.phase, mark.rules)


def visible_steps(state: RunState, view: View) -> tuple[float, float]:
    """The first and last step to be seen: ends of epochs, so that the axis stands still within one."""
    done = state.steps.last.step if state.steps.last else 0
    per_epoch = steps_per_epoch(state)
    if view.epochs and per_epoch:
        end = max(1, math.ceil(done / per_epoch - 1e-9))
        return max(0, end - view.epochs) * per_epoch, end * per_epoch
    return 0.0, max(planned_steps(state), 1)


def panel_chart(
    panel: Panel, history: RunSeries, view: View, width: int, height: int, *, x_labels: bool = True
) -> Chart | None:
    """What ``panel`` shows in ``width`` by ``height`` cells; None while there is nothing to show."""
    columns, rows = plot.columns(width), plot.rows(height, x_labels)
    left, right = visible_steps(history.state, view)
    curves = _curves(panel, history, view, (left, right), columns)
    marks = plan_changes(history.state)
    seen = tuple(phase_bands(history.state, marks)) if height >= _FEWEST_ROWS_WITH_BANDS else ()
    rows -= len(seen) > 0
    values = [y for curve in curves for _, y in curve.points]
    if not values:
        return None
    y = _y_axis(panel, view, values, rows)
    x = axes.steps(left, right, steps_per_epoch(history.state), max(2, columns // 10))
    settled = tuple(_settled(curve, y, rows) for curve in curves)
    marks = [mark for mark in marks if left < mark.step < right]
    return Chart(
        x,
        y,
        settled,
        phases=tuple(float(mark.step) for mark in marks),
        bands=seen,
        labels=tuple(_labels(panel, marks, settled, y, (right - left) / columns)),
        x_labels=x_labels,
    )


def _curves(panel: Panel, history: RunSeries, view: View, span: tuple[float, float], columns: int) -> list[Curve]:
    if panel is LOSS:
        found = _noisy(history.state.steps.series("loss"), view, span, columns)
        found.append(Curve(POINT, "val", tuple(_extremes(history.epochs("val_loss"), span, columns))))
    elif panel is ACCURACY:
        found = [
            Curve(LINE, "train", tuple(_extremes(history.epochs("train_accuracy"), span, columns))),
            Curve(POINT, "val", tuple(_extremes(history.epochs("val_accuracy"), span, columns))),
        ]
        best = history.state.best
        if best is not None and span[0] <= best.step <= span[1]:
            found.append(Curve(BEST, "best", ((best.step, best.val_accuracy),)))
    elif panel is RATE:
        found = _named(history.rates(), span, columns)
    elif panel is CHANGE:
        found = _named(history.changes(), span, columns)
    elif panel is FORGETTING:
        found = _named(history.similarities(), span, columns)
        found.append(Curve(POINT, "val", tuple(_extremes(history.agreement(), span, columns))))
    else:
        found = _noisy(history.state.steps.series("grad_norm"), view, span, columns)
    return [_logarithms(curve) for curve in found] if panel.is_log(view) else found


def _named(lines: Mapping[str, Series], span: tuple[float, float], columns: int) -> list[Curve]:
    return [
        Curve(LINE, style, tuple(_extremes(series, span, columns)), name=safe(name, 18))
        for style, (name, series) in zip(LINE_STYLES, lines.items(), strict=False)
    ]


def _noisy(series: Series, view: View, span: tuple[float, float], columns: int) -> list[Curve]:
    raw = tuple(_extremes(series, span, columns))
    if not view.smoothing:
        return [Curve(LINE, "train", raw)]
    left, right = span
    count = 2 * columns  # braille has two dots beside each other in a cell
    part = (right - left) / count
    # what lies just before the visible steps counts too, or the average would start anew at each zoom
    before = min(int(left / part), math.ceil(3 * view.smoothing * count))
    buckets = series.buckets(left - before * part, right, count + before)
    averages = smoothed(buckets, max(view.smoothing * count, 1.0))
    line = tuple((left + (at - before + 0.5) * part, value) for at, value in averages if at >= before)
    return [Curve(SCATTER, "raw", raw), Curve(LINE, "train", line)]


def _extremes(series: Series, span: tuple[float, float], columns: int) -> Points:
    """The lowest and highest value of each column, the one nearer to the last point first."""
    points: Points = []
    for bucket in series.buckets(*span, columns):
        pair = [bucket.low, bucket.high]
        if points and abs(points[-1][1] - bucket.high) < abs(points[-1][1] - bucket.low):
            pair.reverse()
        points += [(bucket.x, y) for y in dict.fromkeys(pair)]
    return points


def _logarithms(curve: Curve) -> Curve:
    return replace(curve, points=tuple((x, math.log10(y)) for x, y in curve.points if 1e-300 < y < 1e300))


def _y_axis(panel: Panel, view: View, values: Iterable[float], rows: int) -> Axis:
    low, high, most = min(values), max(values), max(1, (rows - 1) // 2)
    if panel.shares:
        return axes.even(axes.percent(low, high, most), rows)
    if panel.is_log(view):
        return axes.logarithmic(10**low, 10**high, most)
    return axes.even(axes.linear(low, high, most), rows)


def _settled(curve: Curve, y: Axis, rows: int) -> Curve:
    """The curve in half dots of the plot: what moves less than one can see leaves the chart as it was."""
    unit = (y.high - y.low) / (8 * rows)
    return replace(curve, points=tuple((x, y.low + round((value - y.low) / unit) * unit) for x, value in curve.points))


def _labels(panel: Panel, marks: list[PlanChange], curves: Iterable[Curve], y: Axis, cell: float) -> Iterable[Label]:
    """What stands in the plot itself: names at the ends of lines, plans that commands set at the top of their marks."""
    for curve in curves:
        if curve.name and curve.points:
            yield Label(curve.name, curve.style, curve.points[-1][0] + 2 * cell, curve.points[-1][1])
    if panel is LOSS:
        for mark in marks:
            if not mark.phase:
                yield Label(safe(mark.rules, 18), "phase", mark.step + 2 * cell, y.high)
