"""``tltui compare``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from engine.rundir import RunFolder
from tltui import json_output
from tltui.comparing.page import Layout, page
from tltui.comparing.reading import Comparing
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
    from rich.text import Text

    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    layout = Layout(console.width, _CHART, *((UNICODE, "braille") if unicode else (ASCII, "ascii")))
    for row in page(comparison, layout):
        console.print(Text.assemble(*((text, _STYLES[style]) for text, style in row)), soft_wrap=True)
