"""The share of the variance in the validation score that a setting explains."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tltui.compare.structs import Setting

FEWEST = 8
"""With fewer runs the estimate is mostly noise."""
# Numeric values that are nearly all different, as random search draws them, are grouped by quantile.
_QUANTILES = 4


def explained_variance(settings: Sequence[Setting], outcomes: Sequence[float | None]) -> float | None:
    """The share of the variance of ``outcomes`` that a setting's values explain, each by itself, from 0 to 1.

    Epsilon squared: unlike the plain correlation ratio it is not biased by a setting that has another value in every
    run. Kelley, An unbiased correlation ratio measure, Proceedings of the National Academy of Sciences 21 (1935).
    None where fewer than ``FEWEST`` outcomes are known.
    """
    known = [(setting, y) for setting, y in zip(settings, outcomes, strict=True) if y is not None]
    if len(known) < FEWEST:
        return None
    groups: dict[Hashable, list[float]] = {}
    for group, (_, y) in zip(_groups([setting for setting, _ in known]), known, strict=True):
        groups.setdefault(group, []).append(y)
    total = _squares([y for _, y in known])
    if len(groups) == len(known) or total == 0:
        return 0.0
    within = sum(map(_squares, groups.values())) / (len(known) - len(groups))
    return max(0.0, 1 - within / (total / (len(known) - 1)))


def _groups(settings: Sequence[Setting]) -> list[Hashable]:
    values = [setting.value for setting in settings]
    plain = not any(setting.changes for setting in settings)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if plain and numbers and len(set(values)) > _QUANTILES:
        ordered = sorted(values)
        return [_QUANTILES * ordered.index(value) // len(ordered) for value in values]
    return [repr(setting) for setting in settings]


def _squares(values: Sequence[float]) -> float:
    """The sum of squared differences from the mean."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)
