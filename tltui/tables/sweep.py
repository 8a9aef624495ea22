"""Results of a sweep as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine.evaluation.metrics import formatted_score, metric_label
from engine.experiments.sweep.events import Bar, SweepResults, TrialResult
from tltui.plotting.text_rows import Row
from tltui.tables.styles import PAGE_STYLES
from tltui.tables.trial_columns import WIDE, columns, ranked, settings_line
from tltui.text.glyphs import Glyphs, safe

_STATE = {"completed": "green", "running": "cyan", "pruned": "yellow", "failed": "red", "stopped": "yellow"}
_BAR, _NARROW_BAR = 24, 16
_LABEL, _NARROW_LABEL = 28, 20


def page(results: SweepResults, width: int, glyphs: Glyphs, most_trials: int = 10) -> Iterator[RenderableType]:
    """The best settings, the effect of each setting, and the first of the trials."""
    yield Text.assemble((safe(results.sweep), "bold"), f"  {trial_counts(results)}")
    yield Text("")
    for row in result_rows(results, width, glyphs):
        yield Text.assemble(*((text, PAGE_STYLES[style]) for text, style in row))
    yield Text("")
    order = ranked(results.trials)
    yield trials_table(order[:most_trials], [margin.setting for margin in results.margins], width)
    if len(order) > most_trials:
        yield Text(f"and {len(order) - most_trials} more; all are listed with --json", style="bright_black")
    for failed in [one for one in order if one.status == "failed"][:3]:
        yield Text(f"trial {failed.trial} failed: {safe(failed.reason)}", style="red")


def result_rows(results: SweepResults, width: int, glyphs: Glyphs) -> list[Row]:
    """The best settings and the effect of each setting."""
    best = results.best
    if best is None:
        return [[("no trial has completed yet", "note")]]
    value = formatted_score(best.score, best.val_accuracy)
    return [
        [(f"best: trial {best.trial}, val {metric_label(best.score)} {value}", "best")],
        [(settings_line(best.settings), "note")],
        [(f"run {safe(Path(best.run).name)}", "axis")],
        [],
        *_margins(results, width, glyphs),
    ]


def trials_table(trials: Sequence[TrialResult], names: Sequence[str], width: int) -> Table:
    """One row for each trial; ``names`` of the settings that vary."""
    table = Table(box=None, pad_edge=False, collapse_padding=width < WIDE, header_style="bold")
    shown = columns(names, width)
    for column in shown.values():
        justify = "right" if column.right else "left"
        table.add_column(Text(column.heading), justify=justify, no_wrap=True, min_width=column.narrowest)
    for one in trials:
        styles = {"state": _STATE[one.status]}
        table.add_row(*(Text(column.cell(one), style=styles.get(key, "")) for key, column in shown.items()))
    return table


def trial_counts(results: SweepResults) -> str:
    """The number of trials, in total and by status."""
    found = Counter(one.status for one in results.trials)
    of = f" of {results.wanted}" if results.wanted else ""
    words = ", ".join(f"{count} {status}" for status, count in found.items())
    return f"{len(results.trials)}{of} trials" + (f": {words}" if words else "")


def _margins(results: SweepResults, width: int, glyphs: Glyphs) -> Iterator[Row]:
    bars = [bar for margin in results.margins for bar in margin.bars]
    low, high = min(bar.mean for bar in bars), max(bar.mean for bar in bars)
    for margin in results.margins:
        importance = "" if margin.importance is None else f"  importance {margin.importance:.0%}"
        yield [(safe(margin.setting), "title"), (importance, "note")]
        for bar in margin.bars:
            yield _bar(bar, results.score, low, high, glyphs, width)


def _bar(bar: Bar, score: str, low: float, high: float, glyphs: Glyphs, width: int) -> Row:
    """The mean as a bar from the lowest to the highest of all means, which differ little."""
    wide = width >= WIDE
    room = _LABEL if wide else _NARROW_LABEL
    full, empty = glyphs.bar((bar.mean - low) / (high - low) if high > low else 1.0, _BAR if wide else _NARROW_BAR)
    label = safe(bar.label, room)
    mean, best = formatted_score(score, bar.mean), formatted_score(score, bar.best)
    figures = f"  mean {mean}  best {best}  {bar.trials} trial{'s' * (bar.trials != 1)}"
    return [(f"  {label:<{room}} ", "note"), (full, "curve"), (empty, "axis"), (figures, "note")]
