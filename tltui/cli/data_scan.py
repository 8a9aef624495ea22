"""``tltui data``: scans a dataset and prints what it found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.config import data_paths
from engine.config.data_sources import DATA_SOURCES
from engine.config.tasks import TASKS
from engine.config.toml_io import from_tables
from engine.errors import InputError
from tltui.cli import json_output
from tltui.cli.console import console
from tltui.cli.progress_bar import working
from tltui.tables.dataset import balance_line, scan_facts
from tltui.text.glyphs import safe

if TYPE_CHECKING:
    from engine.data.scan_results import DatasetScan, NumberRange

_MOST_CLASSES = 20  # printed; --json has all
_BAR = 24


def print_scan(path: str, changes: dict[str, str], *, as_json: bool) -> None:
    """Scan a dataset and print what was found. Raises InputError, also after that, where it can't be used."""
    from engine.data.scan import scan

    data = {"source": "auto", "path": os.path.expanduser(path)}
    config = from_tables({"data": data}, changes).data
    by_path = DATA_SOURCES[config.resolved_source].identified_by == "path"
    if by_path and not data_paths.exists(Path(config.path)):
        raise InputError(f"{path}: there is no such folder or file; name a folder, an archive or a table of images")
    with working() as report:
        found = scan(config, report)
    if as_json:
        click.echo(json_output.as_json(found))
    else:
        console().print(scan_page(found), soft_wrap=True)
    if found.problem:
        raise InputError(found.problem)


def scan_page(scan: DatasetScan) -> RenderableType:
    """A dataset's facts, its classes and its findings."""
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, value in scan_facts(scan):
        facts.add_row(Text(name, style="bold"), Text(safe(value, 400)))
    parts: list[RenderableType] = [facts]
    if scan.classes:
        parts += [Text(), _classes(scan.classes, scan.task)]
    if scan.numbers:
        parts += [Text(), _numbers(scan.numbers)]
    if scan.findings:
        parts += [Text(), Text("what to look at", style="bold")]
        parts += [Text(f"• {safe(finding.message, 1000)}") for finding in scan.findings]
    return Group(*parts)


def _numbers(ranges: dict[str, NumberRange]) -> Table:
    """The range of each number to predict."""
    table = Table("number", box=None, pad_edge=False, header_style="bold")
    for name in ("min", "mean", "max"):
        table.add_column(name, justify="right")
    for name, of in ranges.items():
        table.add_row(Text(safe(name, 32)), f"{of.least:g}", f"{of.mean:g}", f"{of.greatest:g}")
    return table


def _classes(counts: dict[str, int], task: str) -> Table:
    """Images per class, label or rank: all, or the first and the last."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(Text(TASKS[task].noun))
    table.add_column(Text("images"), justify="right")
    table.add_column(Text(balance_line(counts) if task == "single" else ""))
    rows = list(counts.items())
    largest = max(counts.values())
    half, left_out = _MOST_CLASSES // 2, len(rows) - _MOST_CLASSES
    for at, (name, count) in enumerate(rows):
        if left_out > 0 and half <= at < len(rows) - half:
            if at == half:
                table.add_row(Text(f"… {left_out:,} more", style="dim"), "", Text("--json lists all", style="dim"))
            continue
        bar = "▇" * max(round(_BAR * count / max(largest, 1)), 1 if count else 0)
        table.add_row(Text(safe(name, 32)), f"{count:,}", Text(bar, style="cyan"))
    return table
