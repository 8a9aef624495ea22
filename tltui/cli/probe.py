"""``tltui probe``: fits linear probes and prints the recommendation."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from rich.console import Console

from engine.config.schema import RunConfig
from engine.warning_codes import WarningCode
from tltui.cli import json_output
from tltui.cli.console import print_rows, speaks_unicode, warn
from tltui.cli.progress_bar import working
from tltui.settings.probe_recommendation import as_options, as_toml, recommended_changes
from tltui.tables.probe import Layout, probe_page
from tltui.tables.styles import PAGE_STYLES
from tltui.text.glyphs import ASCII, UNICODE

_WIDEST = 150


def print_probes(console: Console, config: RunConfig, models: Sequence[str], *, as_json: bool) -> None:
    """Probe ``models``, or the config's network, and print the results. Warnings and progress go to standard error.

    Raises InputError and Stopped.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine
    from engine.system.devices import check_libraries

    check_libraries()
    from engine.experiments.linear_probe.probe import run_linear_probe

    warned: set[str] = set()

    def warn_once(code: WarningCode, message: str) -> None:
        if message in warned:  # about the dataset, repeated for each network
            return
        warned.add(message)
        warn(code, message)

    with working() as report:
        probed = run_linear_probe(config, models or [config.model.name], report, warn_once)
    if as_json:
        click.echo(json_output.as_json(probed))
        return
    layout = Layout(min(console.width, _WIDEST), UNICODE if speaks_unicode() else ASCII)
    print_rows(console, probe_page(probed, layout), PAGE_STYLES)
    changes = recommended_changes(probed.recommendation, config)
    if not changes:
        click.echo("the settings already match the recommendation")
        return
    click.echo(f"\nto train with this: {as_options(changes)}\n\nor in run.toml:\n\n{as_toml(changes)}", nl=False)
