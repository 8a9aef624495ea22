"""``tltui lr-find``: runs the learning-rate range test and prints its curve."""

from __future__ import annotations

import os

import click
from rich.console import Console

from engine.config.schema import RunConfig
from engine.experiments.lr_range_test.curve import RangeTestStep
from tltui.cli import json_output
from tltui.cli.console import print_rows, speaks_unicode, warn
from tltui.cli.progress_bar import working
from tltui.settings.lr_suggestion import suggested_settings
from tltui.tables.lr_curve import Layout, result_page
from tltui.tables.styles import PAGE_STYLES

_CHART = 12  # rows


def print_range_test(console: Console, config: RunConfig, *, as_json: bool) -> None:
    """Run the test and print its result. Warnings and progress go to standard error.

    Raises InputError, Stopped and TrainingFailed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine
    from engine.system.devices import check_libraries

    check_libraries()
    from engine.experiments.lr_range_test.range_test import run_lr_range_test

    with working() as report:

        def on_step(tried: RangeTestStep) -> None:
            report("lr_find", tried.done, tried.total, "steps")

        found = run_lr_range_test(config, report, on_step, warn)
    if as_json:
        click.echo(json_output.as_json(found))
        return
    layout = Layout(min(console.width, 150), _CHART, "braille" if speaks_unicode() else "ascii")
    print_rows(console, result_page(found, layout), PAGE_STYLES)
    if changes := suggested_settings(found, config.optimizer.lr):
        click.echo("to train with this: " + " ".join(f"--set {key}={value:g}" for key, value in changes.items()))
