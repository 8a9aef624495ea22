"""Commands that try things and compare them."""

from __future__ import annotations

import click

from tltui.console import console
from tltui.options import json_option, run_names, runs_dir_option


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=run_names)
@json_option
@runs_dir_option
def compare(names: tuple[str, ...], as_json: bool, runs_dir: str | None) -> None:
    """Compare runs: settings that differ, curves, figures, and McNemar's test of each against the best.

    Runs that still train or have failed are compared as far as they go.

    \b
    Example:  tltui compare 3fa2 c0de last
    """
    from tltui import runs
    from tltui.comparing.command import print_comparison

    folder = runs.runs_folder(runs_dir)
    print_comparison(console(), [runs.find(folder, name) for name in names], as_json=as_json)


COMMANDS = (compare,)
