"""What came of a sweep, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine.experiments.sweep.space import text
from engine.experiments.sweep.told import Bar, Margin, SweepResults, TrialResult
from tltui.console import speaks_unicode
from tltui.glyphs import ASCII, UNICODE, Glyphs, bytes, number, safe

_MOST_TRIALS = 10
_WIDE = 100  # characters; what is narrower has less
_BAR, _NARROW_BAR = 24, 16
_LABEL, _NARROW_LABEL = 28, 20
_STYLES = {"completed": "green", "running": "cyan", "pruned": "yellow", "failed": "red", "stopped": "yellow"}


def page(results: SweepResults, width: int) -> Iterator[RenderableType]:
    """The best settings, what each setting does, and the best trials."""
    yield Text.assemble((safe(results.sweep), "bold"), f"  {_counts(results)}")
    best = results.best
    if best is None:
        yield Text("no trial has come to its end yet")
    else:
        yield Text("")
        yield Text(f"best: trial {best.trial}, val accuracy {_percent(best.val_accuracy)}", style="bold")
        yield Text(settings_line(best.settings))
        yield Text(f"run {safe(Path(best.run).name)}", style="bright_black")
        yield Text("")
        yield from _margins(results.margins, width)
    yield Text("")
    order = sorted(results.trials, key=lambda one: (one.status != "completed", -(one.val_accuracy or 0)))
    yield trials_table(order[:_MOST_TRIALS], [margin.setting for margin in results.margins], {}, width)
    if len(order) > _MOST_TRIALS:
        yield Text(f"and {len(order) - _MOST_TRIALS} more; all are listed with --json", style="bright_black")
    for failed in [one for one in order if one.status == "failed"][:3]:
        yield Text(f"trial {failed.trial} failed: {safe(failed.reason)}", style="red")


def trials_table(trials: Sequence[TrialResult], names: Sequence[str], epochs: Mapping[int, str], width: int) -> Table:
    """Trials, one a row; ``names`` of what varies, ``epochs`` in words by trial where there is no time to tell yet.

    A terminal that is less than 100 characters wide has no room for speed and memory.
    """
    wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, collapse_padding=not wide, header_style="bold")
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=len("completed"))
    table.add_column("val", justify="right", no_wrap=True, min_width=len("88.8%"))
    keys = [key for name in names for key in name.split(", ")]
    for key in keys:
        table.add_column(Text(_short(key, keys)), no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for heading in ("pictures/s", "memory") if wide else ():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("run", no_wrap=True, min_width=len("3fa2"))
    for one in trials:
        speed = number(one.images_per_second) if one.images_per_second else ""
        memory = bytes(one.memory) if one.memory else ""
        table.add_row(
            str(one.trial),
            Text(one.status, style=_STYLES[one.status]),
            _percent(one.val_accuracy),
            *(Text(safe(_value(one.settings.get(key)), 24 if wide else 12)) for key in keys),
            f"{one.seconds:.1f} s" if one.seconds else epochs.get(one.trial, ""),
            *((speed, memory) if wide else ()),
            Text(safe(Path(one.run).name.partition("-")[0], 8)),
        )
    return table


def settings_line(settings: Mapping[str, Any]) -> str:
    """Settings as one would write them after --set."""
    return "  ".join(f"{key}={safe(_value(value), 60)}" for key, value in settings.items())


def _margins(margins: list[Margin], width: int) -> Iterator[Text]:
    glyphs = UNICODE if speaks_unicode() else ASCII
    bars = [bar for margin in margins for bar in margin.bars]
    low, high = min(bar.mean for bar in bars), max(bar.mean for bar in bars)
    for margin in margins:
        importance = "" if margin.importance is None else f"  importance {margin.importance:.0%}"
        yield Text.assemble((safe(margin.setting), "bold"), importance)
        for bar in margin.bars:
            yield _bar(bar, low, high, glyphs, width)


def _bar(bar: Bar, low: float, high: float, glyphs: Glyphs, width: int) -> Text:
    """The mean as a bar between the lowest and the highest of all means, which differ by little."""
    wide = width >= _WIDE
    room = _LABEL if wide else _NARROW_LABEL
    full, empty = glyphs.bar((bar.mean - low) / (high - low) if high > low else 1.0, _BAR if wide else _NARROW_BAR)
    label = safe(bar.label, room)
    figures = f"  mean {_percent(bar.mean)}  best {_percent(bar.best)}  {bar.trials} trial{'s' * (bar.trials != 1)}"
    return Text.assemble(f"  {label:<{room}} ", (full, "cyan"), (empty, "bright_black"), figures)


def _counts(results: SweepResults) -> str:
    counts = Counter(one.status for one in results.trials)
    of = f" of {results.wanted}" if results.wanted else ""
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{len(results.trials)}{of} trials" + (f": {words}" if words else "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _value(value: Any) -> str:  # noqa: ANN401 (whatever a setting takes)
    return f"{value:.3g}" if isinstance(value, float) else text(value)


def _short(key: str, keys: Sequence[str]) -> str:
    leaf = key.rpartition(".")[2]
    return leaf if sum(other.endswith(f".{leaf}") for other in keys) == 1 else key
