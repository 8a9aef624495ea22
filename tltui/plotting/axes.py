"""Axes: ranges and tick labels in round numbers, so that they rarely change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tltui.text import numbers


@dataclass(frozen=True)
class Axis:
    """A range and its ticks as (position, label)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


def linear(low: float, high: float, most: int) -> Axis:
    """An axis around ``low`` to ``high`` with at most ``most`` intervals, or 2, of 1, 2 or 5 times a power of ten."""
    most = max(most, 2)  # one interval may not hold a range that crosses a round number, such as 0
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
    magnitude = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        step for step in (factor * magnitude for factor in (1, 2, 5, 10, 20)) if _intervals(low, high, step) <= most
    )
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 3:  # one power of ten for all labels, so that they can be compared
        return _ticked(low, high, step, lambda value: f"{value * 10**decimals:.0f}e-{decimals}" if value else "0")
    return _ticked(low, high, step, lambda value: _plain(value, decimals))


def percent(low: float, high: float, most: int) -> Axis:
    """An axis for shares of one, with round percentages between 0 and 100 % as ticks."""
    low, high = max(low - 0.005, 0.0), min(high + 0.005, 1.0)
    step = next(step for step in (0.1, 0.2, 0.25, 0.5, 1.0) if _intervals(low, high, step) <= most)
    return _ticked(low, high, step, lambda value: f"{100 * value:.0f}%")


def even(axis: Axis, rows: int) -> Axis:
    """The axis with its upper end raised so that its ticks are equidistant in ``rows`` rows."""
    intervals = len(axis.ticks) - 1
    rows_apart = (rows - 1) // intervals
    if rows_apart < 1:
        return axis
    return replace(axis, high=axis.low + (axis.high - axis.low) * (rows - 1) / (rows_apart * intervals))


def logarithmic(low: float, high: float, most: int) -> Axis:
    """An axis in powers of ten around two positive numbers; positions are the logarithms."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    values = [mark * 10.0**decade for decade in decades for mark in (1, 2, 5)]
    start = max(at for at, value in enumerate(values) if value <= low * (1 + 1e-9))
    end = min(at for at, value in enumerate(values) if value >= high * (1 - 1e-9))
    end = max(end, start + 1)
    marks = [values[at] for at in range(start, end + 1) if end - start < 6 or at % 3 == 0]
    marks = marks[:: math.ceil((len(marks) - 1) / most)]
    ticks = tuple((math.log10(value), _scientific(value)) for value in marks)
    return Axis(math.log10(values[start]), math.log10(values[end]), ticks)


def steps(left: float, right: float, steps_per_epoch: int, most: int) -> Axis:
    """The axis along the run, exactly from ``left`` to ``right``: labelled in epochs where they are known."""
    epochs = steps_per_epoch > 0 and (right - left) / steps_per_epoch >= 3
    unit = steps_per_epoch if epochs else 1.0
    stride = max(1.0, _round_step((right - left) / unit / most))
    first, last = math.ceil(left / unit / stride - 1e-9), math.floor(right / unit / stride + 1e-9)
    labels = [(at * stride * unit, _count(at * stride)) for at in range(first, last + 1)]
    name = "epoch" if epochs else "step"
    named = [(at, f"{name} {label}" if at == labels[0][0] else label) for at, label in labels]
    return Axis(left, right, tuple(named))


def epochs(last: int, most: int) -> Axis:
    """The axis along ``last`` epochs, from 0, with at most about ``most`` labels."""
    stride = int(max(1.0, _round_step(max(last, 1) / most)))
    labels = [(float(at), _count(at)) for at in range(0, max(last, 1) + 1, stride)]
    return Axis(0.0, float(max(last, 1)), ((0.0, "epoch 0"), *labels[1:]))


def _intervals(low: float, high: float, step: float) -> int:
    return math.ceil(high / step - 1e-9) - math.floor(low / step + 1e-9)


def _ticked(low: float, high: float, step: float, label: Callable[[float], str]) -> Axis:
    first = math.floor(low / step + 1e-9)
    values = [at * step for at in range(first, first + max(_intervals(low, high, step), 1) + 1)]
    return Axis(values[0], values[-1], tuple((value, label(value)) for value in values))


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))


def _plain(value: float, decimals: int) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return numbers.number(value).replace(" ", "")
    return f"{value:.{decimals}f}"


def _scientific(value: float) -> str:
    return f"{value:g}" if 0.001 <= abs(value) < 10_000 else f"{value:.0e}"


def _count(value: float) -> str:
    return f"{value:.0f}" if value < 10_000 else numbers.number(value)
