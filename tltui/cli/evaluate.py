"""``tltui evaluate``: evaluates a run's best checkpoint on its own images or on other data."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec
from rich.console import Console

from engine.runs.folder import RunFolder
from tltui.cli import json_output
from tltui.cli.console import warn
from tltui.cli.progress_bar import working
from tltui.tables.evaluation import evaluation


def print_evaluation(
    console: Console, folder: RunFolder, split: str, data: Path | None, device: str, *, as_json: bool
) -> None:
    """Evaluate and print the metrics; warnings and progress go to standard error. Raises InputError."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine
    from engine.system.cpu import set_up_processor
    from engine.system.devices import check_libraries

    check_libraries()
    from engine.evaluation.load_run import load_trained_run
    from engine.evaluation.re_evaluate import re_evaluate

    set_up_processor()
    with working() as report:
        report("checkpoint", 0, 0, "")
        evaluated = re_evaluate(load_trained_run(folder), split, data, device, report, warn)
    if as_json:
        metrics = msgspec.to_builtins(evaluated)
        click.echo(json_output.as_json({key: metrics[key] for key in metrics if key not in ("type", "seq", "time")}))
    else:
        console.print(evaluation(evaluated, []))
