"""The metrics, those that make an epoch the best, and the export formats."""

from __future__ import annotations

from engine.config.tasks import LOSS, TASKS
from engine.evaluation.metrics import METRICS
from engine.export.formats import FORMATS
from tltui.manual_reference.words import prose, table


def metrics() -> str:
    """Every metric: its label, its name in JSON, its direction and its meaning."""
    rows = [
        (one.label, f"`{name}`", "higher" if one.higher_is_better else "lower", prose(one.meaning))
        for name, one in METRICS.items()
    ]
    return table(("Metric", "Name", "Better", "Meaning"), *rows)


def scores() -> str:
    """The scores of every task: its own, and the others that train.score takes."""
    rows = [
        (f"`{name}`", f"`{task.score}`", ", ".join(f"`{score}`" for score in (*task.scores, LOSS)))
        for name, task in TASKS.items()
    ]
    return table(("`data.task`", "`auto`", "or"), *rows)


def export_formats() -> str:
    """Every export format: what the file holds, what runs it, and what writes it."""
    rows = [
        (
            f"`{name}`",
            prose(one.content),
            prose(one.requires),
            f'`pip install "tltui[{one.extra}]"`' if one.extra else "tltui",
        )
        for name, one in FORMATS.items()
    ]
    return table(("`--format`", "Content", "Runs with", "Written with"), *rows)
