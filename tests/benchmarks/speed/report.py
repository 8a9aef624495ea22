"""The table and the JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.benchmarks.speed.measure import Measurement


def table(measurements: Sequence[Measurement], training_images: int, peak_shares: dict[str, float]) -> Table:
    """A row for each training, means over the seeds, beside how many times the tutorial's loop takes as long."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "scenario",
        "network",
        "who",
        "seconds",
        "faster",
        "start-up",
        "epoch",
        "images/s",
        "best val",
        "epochs run",
    ):
        shown.add_column(column, justify="left" if column in ("scenario", "network", "who", "epochs run") else "right")
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.scenario, one.model, one.who), []).append(one)
    for (scenario, model, who), group in groups.items():
        seconds = statistics.fmean(one.seconds for one in group)
        tutorial = groups.get((scenario, model, "tutorial"))
        faster = statistics.fmean(one.seconds for one in tutorial) / seconds if tutorial else None
        epoch = statistics.fmean(one.steady_epoch for one in group)
        share = peak_shares.get(f"{scenario} {model} {who}")
        shown.add_row(
            scenario, model, who, f"{seconds:,.1f}", f"{faster:.1f}×" if faster else "",
            f"{statistics.fmean(one.startup for one in group):.1f}", f"{epoch:.3f}",
            f"{training_images / epoch:,.0f}" + (f" ({share:.1%} of bf16 peak)" if share else ""),
            f"{statistics.fmean(one.val_accuracy for one in group):.3f}", _epochs(group),
        )  # fmt: skip
    return shown


def write_json(path: Path, measurements: Sequence[Measurement], facts: dict[str, Any]) -> None:
    """Every measurement as it was taken, and what it holds for."""
    rows = [
        {**asdict(one), "steady_epoch": one.steady_epoch, "val_accuracy": one.val_accuracy, "note": _epochs([one])}
        for one in measurements
    ]
    content = {**facts, "measurements": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _epochs(group: Sequence[Measurement]) -> str:
    one = group[0]
    seeds = f", mean of {len(group)} seeds" if len(group) > 1 else ""
    if one.measured_epochs < one.epochs:
        return f"{one.epochs}, extrapolated from {one.measured_epochs} epochs{seeds}"
    return f"{one.epochs}{seeds}"
