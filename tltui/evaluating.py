"""``tltui evaluate``: the best checkpoint of a run on its own pictures once more, or on others."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from engine.rundir import RunFolder
from tltui import json_output
from tltui.glyphs import safe
from tltui.progress import ACTIVITIES
from tltui.tables import evaluation


def print_evaluation(
    console: Console, folder: RunFolder, split: str, data: Path | None, device: str, *, as_json: bool
) -> None:
    """Evaluate and print the figures, with warnings and a bar on standard error. Raises InputError."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine
    from engine.environment import check_libraries, set_up_processor

    check_libraries()
    from engine.evaluation.again import evaluate_again, open_trained

    set_up_processor()
    errors = Console(stderr=True, markup=False, highlight=False)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(activity: str, done: int, total: int, _unit: str) -> None:
            bar.update(task, description=ACTIVITIES.get(activity, activity), completed=done, total=total or None)

        def tell(_code: str, message: str) -> None:
            click.echo(f"warning: {safe(message, 1000)}", err=True)

        trained = open_trained(folder)
        evaluated = evaluate_again(trained, split, data, device, report, tell)
    if as_json:
        figures = msgspec.to_builtins(evaluated)
        click.echo(json_output.as_json({key: figures[key] for key in figures if key not in ("type", "seq", "time")}))
    else:
        console.print(evaluation(evaluated, []))
