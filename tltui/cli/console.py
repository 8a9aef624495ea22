"""Consoles and printing for commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from engine.errors import InputError
from engine.files.escapes import printable
from engine.warning_codes import WarningCode
from tltui.cli import json_output
from tltui.text.glyphs import safe


def console() -> Any:  # noqa: ANN401 (rich is imported when something is printed)
    """A console for tables, which names from outside can't give markup."""
    from rich.console import Console

    # A pipe has no width; a table must not be cut to the 80 columns of a terminal that is not there.
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)


def speaks_unicode() -> bool:
    """Whether standard output takes more than ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def print_rows(console: Any, rows: Iterable[Sequence[tuple[str, str]]], styles: Mapping[str, str]) -> None:  # noqa: ANN401
    """Print rows of texts with the names of their styles."""
    from rich.text import Text

    for row in rows:
        console.print(Text.assemble(*((text, styles[style]) for text, style in row)), soft_wrap=True)


def warn(_code: WarningCode, message: str) -> None:
    """Print an engine's warning on standard error."""
    click.echo(f"warning: {safe(message, 1000)}", err=True)


def print_or_write(text: str, output: str, then: str) -> None:
    """Write ``text`` to a new file, or print it if ``output`` is "-"; ``then``: the command to run next.

    Raises InputError if the file exists or can't be written.
    """
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{output} exists already; choose another name with -o") from None
    except OSError as error:
        raise InputError(f"{output}: can't be written ({error.strerror}); choose another place with -o") from None
    click.echo(printable(f"wrote {output}; edit it, then: {then} {output}"))


def print_list(rows: list[Any], table: Callable[[list[Any]], Any], as_json: bool) -> None:
    """Print rows as a table, or as one JSON document."""
    if as_json:
        click.echo(json_output.as_json(rows))
    else:
        console().print(table(rows))
