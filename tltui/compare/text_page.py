"""A comparison as lines of text with named styles, as `tltui compare` prints it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells, set_cell_size

from engine.config.tasks import TASKS
from tltui.compare.columns import (
    LEVEL,
    TESTS,
    Column,
    further_columns,
    is_constant,
    metric_columns,
    setting_columns,
    setting_value,
)
from tltui.compare.curves import LOSS, OTHER, SCORE, chart, legend, styles
from tltui.compare.structs import Comparison, Difference
from tltui.plotting.text_rows import GAP, Row, beside, cut
from tltui.text.glyphs import Glyphs, safe

WIDE = 110  # from here on the two charts stand beside each other
_NARROWEST = 40
# Settings whose values are longer than this are listed below the table.
_WIDEST_SETTING = 24
_MAX_ROWS = 12  # runs in the tables of further metrics, and listed values of a setting
_MAX_EXPLAINED = 5  # settings whose explained variance is named


@dataclass(frozen=True)
class Layout:
    """``width`` in cells, ``chart``: rows of each chart, ``marker``: one of plot.SAMPLES."""

    width: int
    chart: int
    glyphs: Glyphs
    marker: str


def page(comparison: Comparison, layout: Layout) -> list[Row]:
    """The whole page; each line is at most ``layout.width`` cells wide."""
    layout = replace(layout, width=max(layout.width, _NARROWEST))
    figures, settings = metric_columns(comparison), setting_columns(comparison, layout.glyphs)
    short = [column for column in settings if max(map(cell_len, column.texts)) <= _WIDEST_SETTING]
    beside = _fitting([_number_column(comparison), *figures], short, layout.width)
    listed = {column.key for column in settings} - {column.key for column in beside}
    parts = (
        _charts(comparison, layout),
        _runs(comparison, [*figures, *beside], layout),
        _settings([difference for difference in comparison.differing if difference.key in listed], layout),
        _further(comparison, figures[0], layout),
    )
    rows: list[Row] = []
    for part in parts:
        lines = list(part)
        rows += [[], *lines] if rows and lines else lines
    return [cut(row, layout.width) for row in rows]


def charts(comparison: Comparison, width: int, height: int, marker: str, chosen: int | None = None) -> list[Row]:
    """Score and loss curves side by side, ``height`` rows with their titles."""
    half = (width - GAP) // 2
    left, right = (chart(comparison, which, half, height, marker, chosen) for which in (SCORE, LOSS))
    blank: list[Row] = [[]] * height
    return beside([[*left, *blank][:height], [*right, *blank][:height]], half)


def _charts(comparison: Comparison, layout: Layout) -> Iterator[Row]:
    yield legend(comparison, layout.width, layout.marker)
    if layout.width >= WIDE:
        yield from charts(comparison, layout.width, layout.chart, layout.marker)
    else:
        yield from chart(comparison, SCORE, layout.width, layout.chart, layout.marker)
        yield from chart(comparison, LOSS, layout.width, layout.chart, layout.marker)


def _runs(comparison: Comparison, columns: Sequence[Column], layout: Layout) -> Iterator[Row]:
    yield [("Runs, best validation score first", "title")]
    yield from _table(comparison, columns, comparison.order, layout)
    for run in comparison.runs:
        if run.reason and run.status.is_resumable:
            yield [(f"{run.number} {run.status}: {safe(run.reason)}", "note")]
    if missing := [run.number for run in comparison.runs if not run.evaluated]:
        yield from _words(f"Not evaluated yet: {_numbers(missing)}.", layout)
    for sentence in significance_sentences(comparison):
        yield from _words(sentence, layout)
    telling = [
        f"{one.key} {one.explains:.0%}" for one in comparison.differing[:_MAX_EXPLAINED] if (one.explains or 0) >= 0.01
    ]
    if telling:
        yield from _words(f"Variance in the val score explained by each setting alone: {', '.join(telling)}.", layout)


def significance_sentences(comparison: Comparison) -> Iterator[str]:
    """The meaning of the p values, and the runs that have none."""
    found = comparison.mcnemar
    if found.best is not None and found.tests:
        tests = f", Holm-corrected for {len(found.tests)} tests" if len(found.tests) > 1 else ""
        task = TASKS.get(comparison.runs[found.best - 1].task)
        counted = f" of exact matches ({task.correct} correct)" if task and task.correct else ""
        yield (
            f"p: {TESTS[found.method].name}{counted} against run {found.best} (best validation score among runs with "
            f"predictions) on the same {found.count:,} images{tests}. Better or worse: significant at p < {LEVEL}."
        )
    elif found.best is not None:
        yield f"No run can be tested against run {found.best}."
    reasons: dict[str, list[int]] = {}
    for one in found.untested:
        reasons.setdefault(one.reason, []).append(one.run)
    yield from (f"Not tested: {_numbers(numbers)} ({reason})." for reason, numbers in reasons.items())


def _settings(differing: Sequence[Difference], layout: Layout) -> Iterator[Row]:
    """Settings without a column: each value with the runs that have it."""
    if differing:
        yield [("Further settings that differ", "title")]
    for difference in differing:
        yield [(difference.key, "key")]
        found: dict[str, list[int]] = {}
        for number in range(1, len(difference.settings) + 1):
            found.setdefault(setting_value(difference, number, layout.glyphs), []).append(number)
        values = sorted(found.items(), key=lambda value: -len(value[1])) if len(found) > _MAX_ROWS else found.items()
        for value, numbers in list(values)[:_MAX_ROWS]:
            yield from _listed(value, _numbers(numbers), layout)
        if len(found) > _MAX_ROWS:
            yield [(f"  and {len(found) - _MAX_ROWS} other values; --json has all", "note")]


def _listed(value: str, who: str, layout: Layout) -> Iterator[Row]:
    if len(value) + len(who) + 2 * GAP <= layout.width:
        yield [(f"  {value}  ", "value"), (who, "note")]
        return
    yield from ([(f"  {line}", "value")] for line in chop_cells(value, layout.width - GAP))
    yield from ([(f"    {line}", "note")] for line in textwrap.wrap(who, layout.width - 2 * GAP))


def _further(comparison: Comparison, names: Column, layout: Layout) -> Iterator[Row]:
    """Further metrics, in as many tables as the width needs."""
    shown = comparison.order[:_MAX_ROWS]
    of = f" of the {len(shown)} best; --json has all" if len(shown) < len(comparison.runs) else ""
    further = further_columns(comparison)
    columns = [column for column in further if not is_constant(column)]
    if same := [f"{column.heading} {column.texts[0]}" for column in further if is_constant(column)]:
        yield from _words(f"Same in all runs: {', '.join(same)}.", layout)
        yield from [[]] if columns else []
    while columns:
        here = _fitting([_number_column(comparison), names], columns, layout.width) or columns[:1]
        columns = [column for column in columns if column not in here]
        yield [("Further metrics", "title"), (of, "note")]
        yield from _table(comparison, [names, *here], shown, layout)
        if columns:
            yield []


def _number_column(comparison: Comparison) -> Column:
    return Column("", tuple(str(run.number) for run in comparison.runs))


def _fitting(taken: Sequence[Column], columns: Sequence[Column], width: int) -> list[Column]:
    """Those of ``columns`` that fit beside ``taken``, the first ones with priority."""
    width -= sum(map(_width, taken)) + GAP * (len(taken) - 1)
    fitting = []
    for column in columns:
        if (wide := _width(column) + GAP) <= width:
            fitting.append(column)
            width -= wide
    return fitting


def _width(column: Column) -> int:
    return max(map(cell_len, (column.heading, *column.texts)))


def _table(comparison: Comparison, columns: Sequence[Column], numbers: Sequence[int], layout: Layout) -> Iterator[Row]:
    """A row for each of the runs ``numbers``; the first column, their names, shrinks where there is no room."""
    number, shown = _number_column(comparison), styles(comparison)
    widths = [_width(column) for column in columns]
    spare = layout.width - _width(number) - sum(widths) - GAP * len(columns)
    widths[0] = max(widths[0] + min(spare, 0), 4)

    def line(texts: Iterable[str]) -> str:
        fitted = (safe(text, width, layout.glyphs.ellipsis) for text, width in zip(texts, widths, strict=True))
        return "".join(
            " " * GAP + (set_cell_size(text, width) if column.left else " " * (width - cell_len(text)) + text)
            for column, text, width in zip(columns, fitted, widths, strict=True)
        )

    yield [(" " * _width(number) + line(column.heading for column in columns), "axis")]
    for at in numbers:
        style = "strong" if at == comparison.best else "value"
        yield [
            (number.texts[at - 1].rjust(_width(number)), shown.get(at, OTHER)),
            (line(column.texts[at - 1] for column in columns), style),
        ]


def _numbers(numbers: Sequence[int]) -> str:
    """Runs by their numbers: "run 4", "runs 1-3, 7"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in spans]
    return f"run{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"


def _words(text: str, layout: Layout) -> Iterator[Row]:
    yield from ([(line, "note")] for line in textwrap.wrap(text, layout.width))
