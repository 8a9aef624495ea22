"""A comparison as lines of text with named styles: what the command prints and the app scrolls through."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size

from engine.printable import all_printable
from tltui import glyphs as write
from tltui.comparing.curves import ACCURACY, LOSS, Row, chart, legend, style_of
from tltui.comparing.structs import ComparedRun, Comparison, Difference, Setting, Test
from tltui.glyphs import Glyphs, safe

_WIDE = 110  # from here on the two charts stand beside each other
_GAP = 2
_NARROWEST = 40
_CHANGES_SHOWN = 6
_LONGEST_VALUE = 400  # cells
_LEVEL = 0.05  # of the tests


@dataclass(frozen=True)
class Layout:
    """How it is drawn: ``width`` in cells, ``chart`` rows a chart, ``marker`` as ``Curves`` takes it."""

    width: int
    chart: int
    glyphs: Glyphs
    marker: str


def page(comparison: Comparison, layout: Layout) -> list[Row]:
    """All of it, each line at most ``layout.width`` cells wide."""
    layout = Layout(max(layout.width, _NARROWEST), layout.chart, layout.glyphs, layout.marker)
    parts = (_charts, _runs, _figures, _tests, _settings)
    rows: list[Row] = []
    for part in parts:
        rows += [*([[]] if rows else []), *part(comparison, layout)]
    return [_cut(row, layout.width) for row in rows]


def _charts(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield legend(comparison, layout.marker)
    if layout.width < _WIDE:
        yield from chart(comparison, ACCURACY, layout.width, layout.chart, layout.marker)
        yield from chart(comparison, LOSS, layout.width, layout.chart, layout.marker)
        return
    half = (layout.width - _GAP) // 2
    left, right = (chart(comparison, which, half, layout.chart, layout.marker) for which in (ACCURACY, LOSS))
    blank: list[Row] = [[]] * layout.chart
    for a, b in zip([*left, *blank][: layout.chart], [*right, *blank][: layout.chart], strict=True):
        yield [*_padded(a, half + _GAP), *b]


def _runs(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield [("Runs", "title")]
    headings = ["", "run", "state", "epoch", "best val", "at", "trains", "share", "training", "an epoch", "kept", "on"]
    rows = []
    for run in comparison.runs:
        share = write.share(run.trainable / run.total) if run.trainable is not None and run.total else ""
        rows.append(
            [
                str(run.number), run.run, run.status, f"{run.epoch}/{run.epochs}", _share(run.best_val_accuracy),
                "" if run.best_epoch is None else str(run.best_epoch),
                "" if run.trainable is None else write.number(run.trainable), share,
                _duration(run.epoch_seconds), _duration(run.epoch_seconds, run.epoch),
                write.bytes(run.cached_bytes) if run.cached_bytes else "", run.device,
            ]
        )  # fmt: skip
    yield from _table(comparison, headings, rows, layout, names=1, left=(1, 2, 11))
    for run in comparison.runs:
        if run.reason and run.status in ("failed", "stopped", "lost"):
            yield [(str(run.number), style_of(comparison, run.number)), (f" {run.status}: {safe(run.reason)}", "note")]


def _figures(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield [("Evaluation of the best checkpoint", "title")]
    headings = ["", "run", "on", "pictures", "accuracy", "95 % interval", "balanced", "macro F1", "log loss"]
    rows = [_figures_of(run) for run in comparison.runs if run.evaluated]
    if rows:
        yield from _table(comparison, headings, rows, layout, names=1, left=(1, 2))
    if missing := [run.number for run in comparison.runs if not run.evaluated]:
        yield [(f"not evaluated yet: {_numbers(missing)}", "note")]


def _figures_of(run: ComparedRun) -> list[str]:
    of = run.evaluated
    assert of is not None
    low, high = of.accuracy_interval
    return [
        str(run.number), run.run, of.split, f"{of.count:,}", _share(of.accuracy), f"{_share(low)} – {_share(high)}",
        _share(of.balanced_accuracy), _decimals(of.macro_f1), _decimals(of.log_loss),
    ]  # fmt: skip


def _tests(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield [("McNemar's exact test", "title")]
    found = comparison.mcnemar
    if found.best is not None and found.tests:
        best = f"run {found.best}, which has the best validation accuracy of those with predictions"
        yield from _words(f"Against {best}; on the same {found.count:,} pictures.", layout)
        headings = ["", "run", "only it right", f"only {found.best} right", "p", "p, Holm", "at 5 %"]
        rows = [_tested(comparison, test) for test in found.tests]
        if len(rows) == 1:  # nothing to correct for
            del headings[5]
            rows = [[*row[:5], *row[6:]] for row in rows]
        yield from _table(comparison, headings, rows, layout, names=1, left=(1, len(headings) - 1))
    elif found.best is not None:
        yield from _words(f"No run can be tested against run {found.best}.", layout)
    reasons: dict[str, list[int]] = {}
    for one in found.untested:
        reasons.setdefault(one.reason, []).append(one.run)
    for reason, numbers in reasons.items():
        yield from _words(f"Not compared: {_numbers(numbers)} ({reason}).", layout)


def _tested(comparison: Comparison, test: Test) -> list[str]:
    better = "better" if test.only_this > test.only_best else "worse"
    return [
        str(test.run), comparison.runs[test.run - 1].run, f"{test.only_this:,}", f"{test.only_best:,}",
        _p(test.p), _p(test.p_holm), better if test.p_holm < _LEVEL else "no difference shown",
    ]  # fmt: skip


def _settings(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield [("Settings that differ", "title")]
    if not comparison.differing:
        yield [("none", "note")]
    for difference in comparison.differing:
        yield [(difference.key, "key")]
        for value, numbers in _values(difference, layout.glyphs):
            who = _numbers(numbers)
            room = min(max(layout.width - cell_len(who) - 6, layout.width // 2), 80)
            first, *rest = chop_cells(safe(value, _LONGEST_VALUE), room) or [""]
            yield [(f"  {set_cell_size(first, room)}  ", "value"), (who, "note")]
            yield from ([(f"  {line}", "value")] for line in rest)


def _values(difference: Difference, glyphs: Glyphs) -> Iterable[tuple[str, list[int]]]:
    """Each value that there is, with the numbers of the runs that have it."""
    found: dict[str, list[int]] = {}
    for number, setting in enumerate(difference.settings, start=1):
        found.setdefault(_history(setting, glyphs), []).append(number)
    return found.items()


def _history(setting: Setting, glyphs: Glyphs) -> str:
    changes = [f"{_value(change.value)} after step {change.step:,}" for change in setting.changes]
    if len(changes) > _CHANGES_SHOWN:
        changes[1 : 1 - _CHANGES_SHOWN] = [glyphs.ellipsis]
    return f" {glyphs.arrow} ".join([_value(setting.value), *changes])


def _value(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(all_printable(value), ensure_ascii=False)


def _table(
    comparison: Comparison,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    layout: Layout,
    *,
    names: int,
    left: tuple[int, ...],
) -> Iterator[Row]:
    """``rows`` begin with a run's number; column ``names`` gives way to the others where there is no room for all."""
    kept = [at for at in range(len(headings)) if at == 0 or any(row[at] for row in rows)]
    cells = [[safe(row[at], 24 if at != names else 0) for at in kept] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip([headings[at] for at in kept], *cells, strict=True)]
    flexible = kept.index(names)
    spare = layout.width - sum(widths) - _GAP * (len(kept) - 1)
    widths[flexible] = max(widths[flexible] + min(spare, 0), 4)

    def line(texts: Sequence[str]) -> list[str]:
        fitted = (safe(text, width, layout.glyphs.ellipsis) for text, width in zip(texts, widths, strict=True))
        return [
            set_cell_size(text, width) if at in left else " " * (width - cell_len(text)) + text
            for at, text, width in zip(kept, fitted, widths, strict=True)
        ]

    yield [((" " * _GAP).join(line([headings[at] for at in kept])), "axis")]
    for row in cells:
        number, *rest = line(row)
        best = "strong" if int(row[0]) == comparison.best else "value"
        yield [(number, style_of(comparison, int(row[0]))), ((" " * _GAP).join(["", *rest]), best)]


def _numbers(numbers: Sequence[int]) -> str:
    """Runs by their numbers: "run 4", "runs 1–3, 7"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}–{b}" for a, b in spans]
    return f"run{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"


def _words(text: str, layout: Layout) -> Iterator[Row]:
    yield from ([(line, "note")] for line in textwrap.wrap(text, layout.width))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _duration(seconds: float | None, parts: int = 1) -> str:
    if seconds is None or not math.isfinite(seconds):
        return ""
    return write.duration(seconds / parts) if seconds / parts >= 60 else f"{seconds / parts:.1f} s"


def _padded(row: Row, width: int) -> Row:
    return [*_cut(row, width), (" " * max(width - sum(cell_len(text) for text, _ in row), 0), "axis")]


def _cut(row: Row, width: int) -> Row:
    found: Row = []
    for text, style in row:
        if width <= 0:
            break
        part = text if cell_len(text) <= width else set_cell_size(text, width)
        found.append((part, style))
        width -= cell_len(part)
    return found
