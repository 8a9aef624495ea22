"""Results of a cross-validation as text: the folds, and the means of their metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine.evaluation.metrics import METRICS, formatted_score
from engine.experiments.cross_validation.events import CrossValidationSummary, FoldMean, FoldResult
from tltui.plotting.text_rows import Row
from tltui.tables.styles import PAGE_STYLES
from tltui.text.glyphs import safe

SPLITS = ("val", "test")
HEADINGS = ("fold", "state", "val", "test", "epoch", "time", "run")
STATES = {"completed": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "waiting": "bright_black"}


def page(summary: CrossValidationSummary) -> Iterator[RenderableType]:
    """The folds, then the means."""
    yield Text.assemble((safe(summary.name), "bold"), f"  {fold_counts(summary)}")
    yield folds_table(summary)
    for row in mean_rows(summary):
        yield Text.assemble(*((text, PAGE_STYLES[style]) for text, style in row))
    for failed in summary.folds:
        if failed.status == "failed":
            yield Text(f"fold {failed.fold} failed: {safe(failed.reason)}", style="red")


def folds_table(summary: CrossValidationSummary) -> Table:
    """One row for each fold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in HEADINGS:
        table.add_column(key, justify="left" if key in ("state", "run") else "right", no_wrap=True)
    for one in summary.folds:
        cells = fold_cells(one)
        table.add_row(*(Text(cells[key], style=STATES[one.status] if key == "state" else "") for key in HEADINGS))
    return table


def fold_cells(one: FoldResult) -> dict[str, str]:
    """The cells of a fold's row by column; the metrics are those that its task is judged by."""
    val = one.metrics.get("val", {}).get(one.score, one.best_val_accuracy)
    return {
        "fold": str(one.fold),
        "state": one.status,
        "val": formatted_score(one.score, val),
        "test": formatted_score(one.score, one.metrics.get("test", {}).get(one.score)),
        "epoch": f"{one.epoch}/{one.epochs}" if one.epochs else "",
        "time": f"{one.seconds:.1f} s" if one.seconds else "",
        "run": safe(Path(one.run).name.partition("-")[0], 8),
    }


def fold_counts(summary: CrossValidationSummary) -> str:
    """The number of folds, in total and by status."""
    counts = Counter(one.status for one in summary.folds)
    return f"{len(summary.folds)} folds: " + ", ".join(f"{count} {status}" for status, count in counts.items())


def mean_rows(summary: CrossValidationSummary) -> list[Row]:
    """The mean of each metric over the completed folds, with its interval, and what the interval is."""
    if not summary.means:
        return [[("no fold has completed yet", "note")]]
    heading = f"mean over {summary.completed} folds"
    rows: list[Row] = [[], [(f"{heading:<24}{'mean':>8}{'95 % interval':>19}{'sd':>8}", "title")]]
    for split in SPLITS:
        for name, found in summary.means.get(split, {}).items():
            label = f"{split} {METRICS[name].label}"
            style = "best" if name == summary.score else "note"
            rows.append([(f"{label:<24}", style), (f"{_text(name, found.mean):>8}{_spread(name, found)}", style)])
    note = "intervals: Student's t over the folds. Training sets overlap, so they are rather narrow."
    return [*rows, [(note, "axis")], [("val: each fold's best epoch, chosen on its own val images.", "axis")]]


def _spread(name: str, found: FoldMean) -> str:
    if found.interval is None or found.deviation is None:
        return ""
    interval = " – ".join(_text(name, end) for end in found.interval)
    return f"{interval:>19}{_text(name, found.deviation):>8}"


def _text(name: str, value: float | None) -> str:
    return "" if value is None else METRICS[name].format(value)
