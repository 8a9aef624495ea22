"""What commands print on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from tltui import json_output


def console() -> Any:  # noqa: ANN401 (rich is imported when something is printed)
    """A console for tables, which names from outside can't give markup."""
    from rich.console import Console

    # A pipe has no width; a table must not be cut to the 80 columns of a terminal that is not there.
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)


def print_list(rows: list[Any], table: Callable[[list[Any]], Any], as_json: bool) -> None:
    """Print rows as a table, or as one JSON document."""
    if as_json:
        click.echo(json_output.as_json(rows))
    else:
        console().print(table(rows))
