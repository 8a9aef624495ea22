"""``tltui compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from engine.rundir import RunFolder
from tltui import json_output
from tltui.comparing.page import Layout, page
from tltui.comparing.reading import Comparing
from tltui.console import print_rows, speaks_unicode
from tltui.glyphs import ASCII, UNICODE
from tltui.working import working

_CHART = 14  # rows
# The sixteen colours that every terminal has.
_STYLES = {
    "title": "bold", "key": "bold", "strong": "bold", "value": "", "axis": "bright_black", "note": "bright_black",
    "other": "bright_black", "band": "bright_black",
    "run1": "cyan", "run2": "yellow", "run3": "green", "run4": "magenta", "run5": "blue", "run6": "red",
}  # fmt: skip


def print_comparison(console: Any, folders: Sequence[RunFolder], *, as_json: bool) -> None:  # noqa: ANN401 (rich's)
    """Compare runs as they are now. Raises InputError."""
    comparing = Comparing(folders)
    with working() as report:
        comparison = comparing.look(report)
    if as_json:
        click.echo(json_output.as_json(comparison))
        return
    layout = Layout(console.width, _CHART, *((UNICODE, "braille") if speaks_unicode() else (ASCII, "ascii")))
    print_rows(console, page(comparison, layout), _STYLES)
