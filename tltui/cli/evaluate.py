"""``tltui evaluate``: the best checkpoint of a run on its own images once more, or on others."""

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
    """Evaluate and print the figures, with warnings and a bar on standard error. Raises InputError."""
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
        figures = msgspec.to_builtins(evaluated)
        click.echo(json_output.as_json({key: figures[key] for key in figures if key not in ("type", "seq", "time")}))
    else:
        console.print(evaluation(evaluated, []))
