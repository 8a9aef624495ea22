"""``tltui compare``: prints the comparison of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from engine.runs.folder import RunFolder
from tltui.cli import json_output
from tltui.cli.console import print_rows, speaks_unicode
from tltui.cli.progress_bar import working
from tltui.compare.reader import ComparisonReader
from tltui.compare.text_page import Layout, page
from tltui.text.glyphs import ASCII, UNICODE

_CHART = 14  # rows
# The sixteen colours that every terminal has.
_STYLES = {
    "title": "bold", "key": "bold", "strong": "bold", "value": "", "axis": "bright_black", "note": "bright_black",
    "other": "bright_black", "band": "bright_black",
    "run1": "cyan", "run2": "yellow", "run3": "green", "run4": "magenta", "run5": "blue", "run6": "red",
}  # fmt: skip


def print_comparison(console: Any, folders: Sequence[RunFolder], *, as_json: bool) -> None:  # noqa: ANN401 (rich's)
    """Compare runs as they are now. Raises InputError."""
    comparing = ComparisonReader(folders)
    with working() as report:
        comparison = comparing.read(report)
    if as_json:
        click.echo(json_output.as_json(comparison))
        return
    layout = Layout(console.width, _CHART, *((UNICODE, "braille") if speaks_unicode() else (ASCII, "ascii")))
    print_rows(console, page(comparison, layout), _STYLES)
