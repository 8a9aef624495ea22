"""The columns of a comparison. A new column is a new entry here."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from engine.evaluation.metrics import METRICS, Metric, formatted_score, metric_label
from engine.files.escapes import all_printable
from engine.runs.run_status import RunStatus
from tltui.compare.structs import ComparedRun, Comparison, Difference, Metrics, Setting, Test
from tltui.text import numbers as write
from tltui.text.glyphs import Glyphs, safe

LEVEL = 0.05
"""Significance level of the paired tests."""


class TestWords(NamedTuple):
    """A paired test's short and full name, and what a run is on the images that count for it."""

    short: str
    name: str
    ahead: str


TESTS = {
    "mcnemar": TestWords("McNemar", "McNemar's exact test", "correct"),
    "wilcoxon": TestWords("Wilcoxon", "Wilcoxon's signed-rank test of the errors", "closer"),
}
LONGEST_VALUE = 400  # cells
_CHANGES_SHOWN = 6


@dataclass(frozen=True)
class Column:
    """``texts`` by run number, safe to print; ``left``-aligned or right. ``key``: of the setting, if it is one."""

    heading: str
    texts: tuple[str, ...]
    left: bool = False
    key: str = ""


def metric_columns(comparison: Comparison) -> list[Column]:
    """Status, accuracy and significance of each run."""
    all_done = all(run.status is RunStatus.COMPLETED for run in comparison.runs)
    return _filled(
        Column("run", _ids(comparison), left=True),
        _of_runs(comparison, "status", lambda run: "" if all_done else run.status, left=True),
        _of_runs(comparison, "epoch", lambda run: f"{run.epoch}/{run.epochs}"),
        _of_runs(comparison, _val_heading(comparison), lambda run: formatted_score(run.score, run.best_val_score)),
        _of_metrics(comparison, _split(comparison), lambda of: formatted_score(of.score, of.metrics.get(of.score))),
        _of_metrics(comparison, "95 % interval", lambda of: _interval(of.accuracy_interval)),
        _verdicts(comparison),
    )


def setting_columns(comparison: Comparison, glyphs: Glyphs) -> list[Column]:
    """The settings that differ, those that explain most variance first."""
    names = _short_names([difference.key for difference in comparison.differing])
    return [
        Column(
            names[difference.key],
            tuple(safe(text, LONGEST_VALUE) for text in _short_values(difference, glyphs)),
            left=not all(_is_number(setting) for setting in difference.settings),
            key=difference.key,
        )
        for difference in comparison.differing
    ]


def _short_values(difference: Difference, glyphs: Glyphs) -> list[str]:
    """The runs' values; lists without their common items, unless they differ in order alone."""
    texts = [history(setting, glyphs, plain=True) for setting in difference.settings]
    values = [setting.value for setting in difference.settings]
    if not all(isinstance(value, list) for value in values) or any(of.changes for of in difference.settings):
        return texts
    common = [item for item in values[0] if all(item in value for value in values)]
    short = [_without(common, value, glyphs) for value in values]
    return short if len(set(short)) == len(set(texts)) else texts


def _without(common: list[object], value: list[object], glyphs: Glyphs) -> str:
    said = [glyphs.ellipsis if item in common else _value(item, plain=True) for item in value]
    return ", ".join(text for text, _ in groupby(said))


def further_columns(comparison: Comparison) -> list[Column]:
    """Further metrics, costs and the numbers behind the tests."""
    tests = {test.run: test for test in comparison.mcnemar.tests}
    best, ahead = comparison.mcnemar.best, TESTS[comparison.mcnemar.method].ahead

    def of_tests(heading: str, text: Callable[[Test], str]) -> Column:
        return _of_runs(comparison, heading, lambda run: text(tests[run.number]) if run.number in tests else "")

    return _filled(
        _of_runs(comparison, "best at", lambda run: "" if run.best_epoch is None else str(run.best_epoch)),
        *(_of_metric(comparison, metric) for metric in METRICS.values() if metric.name not in _scores(comparison)),
        of_tests(f"only it {ahead}", lambda test: f"{test.only_this:,}"),
        of_tests(f"only {best} {ahead}", lambda test: f"{test.only_best:,}"),
        of_tests("p, uncorrected", lambda test: p_text(test.p) if len(tests) > 1 else ""),
        _of_runs(comparison, "trainable", lambda run: "" if run.trainable is None else write.number(run.trainable)),
        _of_runs(comparison, "trainable %", _trainable_share),
        _of_runs(comparison, "time", lambda run: _duration(run.epoch_seconds)),
        _of_runs(comparison, "per epoch", lambda run: _duration(run.epoch_seconds, run.epoch)),
        _of_runs(comparison, "cached", lambda run: write.bytes(run.cached_bytes) if run.cached_bytes else ""),
        _of_runs(comparison, "images", lambda run: f"{run.evaluated.count:,}" if run.evaluated else ""),
        _of_runs(comparison, "device", lambda run: safe(run.device, 12), left=True),
    )


def verdict(test: Test) -> str:
    """Whether the run is better or worse than the best one; "" where the difference is not significant."""
    if test.p_holm >= LEVEL:
        return ""
    return "better" if test.only_this > test.only_best else "worse"


def p_text(value: float) -> str:
    """A p value with three decimals, or its order of magnitude."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def history(setting: Setting, glyphs: Glyphs, *, plain: bool = False) -> str:
    """A setting's value with its changes by command; ``plain``: lists with commas, not as JSON."""
    changes = [f"{_value(change.value, plain=plain)} after step {change.step:,}" for change in setting.changes]
    if len(changes) > _CHANGES_SHOWN:
        changes[1 : 1 - _CHANGES_SHOWN] = [glyphs.ellipsis]
    return f" {glyphs.arrow} ".join([_value(setting.value, plain=plain), *changes])


def setting_value(difference: Difference, number: int, glyphs: Glyphs) -> str:
    """The value of run ``number``, cut to ``LONGEST_VALUE`` cells."""
    return safe(history(difference.settings[number - 1], glyphs), LONGEST_VALUE)


def _value(value: object, *, plain: bool) -> str:
    if isinstance(value, str) and value:
        return value
    if plain and isinstance(value, list) and value:
        return ", ".join(_value(item, plain=plain) for item in value)
    return json.dumps(all_printable(value), ensure_ascii=False)


def is_constant(column: Column) -> bool:
    """Whether it has the same text for all runs."""
    return len(set(column.texts)) == 1


def _filled(*columns: Column) -> list[Column]:
    return [column for column in columns if any(column.texts)]


def _of_runs(comparison: Comparison, heading: str, text: Callable[[ComparedRun], str], *, left: bool = False) -> Column:
    return Column(heading, tuple(text(run) for run in comparison.runs), left)


def _of_metrics(comparison: Comparison, heading: str, text: Callable[[Metrics], str]) -> Column:
    return _of_runs(comparison, heading, lambda run: text(run.evaluated) if run.evaluated else "")


def _of_metric(comparison: Comparison, metric: Metric) -> Column:
    def text(figures: Metrics) -> str:
        value = figures.metrics.get(metric.name)
        return "" if value is None else metric.format(value)

    return _of_metrics(comparison, metric.heading, text)


def _split(comparison: Comparison) -> str:
    """The split of the score: "test", or "test, val" where runs differ in it."""
    return ", ".join(sorted({run.evaluated.split for run in comparison.runs if run.evaluated}))


def _verdicts(comparison: Comparison) -> Column:
    tests = {test.run: test for test in comparison.mcnemar.tests}
    width = max((len(p_text(test.p_holm)) for test in tests.values()), default=0)

    def text(run: ComparedRun) -> str:
        if run.number not in tests:
            return ""
        test = tests[run.number]
        return f"{p_text(test.p_holm):>{width}} {verdict(test)}".rstrip()

    return _of_runs(comparison, f"p against {comparison.mcnemar.best}", text, left=True)


def _ids(comparison: Comparison) -> tuple[str, ...]:
    """The runs' ids up to the first "-", or whole where these are not unique."""
    short = [run.run.split("-")[0] for run in comparison.runs]
    twice = {name for name, count in Counter(short).items() if count > 1}
    names = [run.run if name in twice else name for run, name in zip(comparison.runs, short, strict=True)]
    return tuple(safe(name, 24) for name in names)


def _short_names(keys: list[str]) -> dict[str, str]:
    """ "lr" for "optimizer.lr", "model" for "model.name"; the whole key where a short name is not unique."""
    short = {key: key.split(".")[0] if key.endswith(".name") else key.split(".")[1] for key in keys}
    count = Counter(short.values())
    return {key: name if count[name] == 1 else key for key, name in short.items()}


def _is_number(setting: Setting) -> bool:
    return isinstance(setting.value, int | float) and not isinstance(setting.value, bool) and not setting.changes


def _trainable_share(run: ComparedRun) -> str:
    return write.share(run.trainable / run.total) if run.trainable is not None and run.total else ""


def _val_heading(comparison: Comparison) -> str:
    """The heading of the best epochs' scores; it names what all runs are ranked by, unless that is accuracy."""
    scores = {run.score for run in comparison.runs if run.best_epoch}
    return f"val {metric_label(*scores)}" if len(scores) == 1 and scores != {"accuracy"} else "val"


def _scores(comparison: Comparison) -> set[str]:
    """The metrics that stand beside the runs already."""
    return {run.evaluated.score for run in comparison.runs if run.evaluated}


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{100 * low:.1f}-{_share(high)}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _duration(seconds: float | None, parts: int = 1) -> str:
    if seconds is None or not math.isfinite(seconds):
        return ""
    return write.duration(seconds / parts) if seconds / parts >= 60 else f"{seconds / parts:.1f} s"
