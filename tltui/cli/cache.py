"""``tltui cache``: lists and clears the caches."""

from __future__ import annotations

import datetime
import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.cache.folder import cache_root, used
from engine.cache.listing import SpaceInfo, clear, known, spaces
from tltui.cli import json_output
from tltui.text.glyphs import safe
from tltui.text.numbers import bytes as bytes_text

_WIDEST = 48  # columns of one cell


def list_cache(console: Console, *, as_json: bool) -> None:
    """Print the caches: features and images, last used first, then measurements of networks, machine and files."""
    root = cache_root()
    found = [*spaces(root), *known(root)]
    if as_json:
        click.echo(json_output.as_json(found))
    elif found:
        console.print(cache_table(found))
        click.echo(f"{bytes_text(used(root))} in {safe(str(root))}")
    else:
        click.echo(f"nothing is cached in {safe(str(root))}")


def clear_cache(*, ask: bool, as_json: bool) -> None:
    """Remove what no run uses, after a confirmation on a terminal, and print what was freed."""
    root = cache_root()
    if ask and sys.stdin.isatty():
        click.confirm(f"remove {bytes_text(used(root))} from {safe(str(root))}?", abort=True, err=True)
    freed = clear(root)
    staying = [space for space in spaces(root) if space.in_use]
    if as_json:
        click.echo(json_output.as_json({"freed": freed, "in_use": staying}))
        return
    click.echo(f"freed {bytes_text(freed)}")
    for space in staying:
        click.echo(f"kept, in use: {space.kind} of {_said(space, 'data')}, {bytes_text(space.bytes)}")


def cache_table(rows: list[SpaceInfo]) -> Table:
    """One cache per row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "data", "model", "holds", "rows", "size", "last used", "in use"):
        table.add_column(Text(column))
    for row in rows:
        table.add_row(
            row.kind,
            Text(_said(row, "data")),
            Text(_said(row, "model")),
            Text(", ".join(_said(row, key) for key in row.about if key not in ("data", "model"))),
            f"{row.rows:,}",
            bytes_text(row.bytes),
            datetime.datetime.fromtimestamp(row.last_used).strftime("%Y-%m-%d %H:%M"),
            "yes" if row.in_use else "",
        )
    return table


def _said(space: SpaceInfo, key: str) -> str:
    return ", ".join(safe(value, _WIDEST) for value in space.about.get(key, []))
