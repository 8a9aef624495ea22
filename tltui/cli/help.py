"""``tltui help``: the manual through a pager on a terminal, as Markdown in a pipe."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.errors import InputError
from tltui.cli.console import console

if TYPE_CHECKING:
    from tltui.manual.topics import Location

_WIDEST = 100  # columns of a page; longer lines are hard to read


def _topic_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from tltui.manual.topics import topics

    return [name for name in topics() if name.startswith(incomplete)]


@click.command("help")
@click.argument("topic", required=False, shell_complete=_topic_names)
def show_manual(topic: str | None) -> None:
    """Print the manual. Without TOPIC: the list of its pages.

    TOPIC is a page, a command, a setting, an event or a warning code. On a terminal the page opens in $PAGER.

    \b
    Example:  tltui help freezing
              tltui help optimizer.lr
    """
    if topic is None:
        _print_pages()
        return
    from tltui.manual import topics

    location = topics.find(topic)
    if location is None:
        near = " or ".join(f'"{name}"' for name in topics.nearest(topic))
        raise InputError(
            f'"{topic}" is not a topic of the manual{f"; did you mean {near}?" if near else ""}; '
            "`tltui help` lists the pages"
        )
    if sys.stdout.isatty():
        _open_in_pager(location)
    else:
        _print_markdown(location)


def _print_pages() -> None:
    from rich.table import Table

    from tltui.manual.pages import pages, plain

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    for page in pages().values():
        table.add_row(page.id, plain(page.summary))
    console().print(table)
    click.echo("\nRead a page, or what it says on a command, setting, event or warning code: tltui help TOPIC")


def _print_markdown(location: Location) -> None:
    """A page, or one entry of it."""
    from tltui.manual.pages import pages, section, without_comments

    page = pages()[location.page]
    click.echo(without_comments(section(page, location.anchor) if location.anchor else page.text), nl=False)


def _open_in_pager(location: Location) -> None:
    """The whole page, from the entry on where the pager can't begin in the middle."""
    from rich.console import Console
    from rich.segment import SegmentLines

    from tltui.manual.drawing import TERMINAL_STYLES, draw
    from tltui.manual.pages import pages

    page = pages()[location.page]
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    drawn = draw(page.text, width, TERMINAL_STYLES, ascii_only=False)
    at = next((drawn.place(heading.line) for heading in page.headings if heading.anchor == location.anchor), 0)
    lines = drawn.lines
    if _is_less():
        begin = f"+{at + 1}g" if at else "-F"  # a page that fits on the screen needs no pager
        os.environ["LESS"] = f"{os.environ.get('LESS', '')} -R {begin}".strip()
    else:
        lines = lines[at:]
    terminal = Console(width=width)
    with terminal.capture() as captured:
        terminal.print(SegmentLines(lines, new_lines=True))
    click.echo_via_pager(captured.get(), color=terminal.color_system is not None)


def _is_less() -> bool:
    command = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    return Path(command[0]).name == "less" and shutil.which(command[0]) is not None
