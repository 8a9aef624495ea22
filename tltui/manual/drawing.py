"""Pages as lines for a terminal, with the places of their links and of what is searched for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.theme import Theme

from tltui.manual.page_markdown import SOURCE_LINE, PageMarkdown

# Styles by Rich's names, in the sixteen colours that every terminal has.
TERMINAL_STYLES = {
    "markdown.h1": "bold",
    "markdown.h2": "bold cyan",
    "markdown.h3": "bold",
    "markdown.h4": "bold",
    "markdown.code": "cyan",
    "markdown.code_block": "cyan",
    "markdown.link_url": "underline",
    "markdown.table.header": "bold",
    "markdown.table.border": "bright_black",
    "markdown.item.bullet": "none",
    "markdown.item.number": "none",
    "markdown.block_quote": "none",
}


@dataclass(frozen=True)
class Link:
    """A link: what it leads to, and where it is drawn as (line, first column, column after)."""

    href: str
    spans: tuple[tuple[int, int, int], ...]


@dataclass
class DrawnPage:
    """A page as lines of a width. ``lines_of`` maps lines of the source to the lines where their text begins."""

    lines: list[list[Segment]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    lines_of: dict[int, int] = field(default_factory=dict)

    def place(self, source_line: int) -> int:
        """Where the text of a line of the source is drawn, or what is before it."""
        before = [line for line in self.lines_of if line <= source_line]
        return self.lines_of[max(before)] if before else 0


def draw(text: str, width: int, styles: Mapping[str, str | Style], *, ascii_only: bool) -> DrawnPage:
    """Draw Markdown; ``styles`` are by the names of ``TERMINAL_STYLES``."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, theme=Theme(styles), highlight=False)
    options = console.options.update(width=width)
    options.encoding = "ascii" if ascii_only else "utf-8"
    drawn = DrawnPage()
    for line in console.render_lines(PageMarkdown(text), options, pad=False):
        _note_places(line, drawn)
        drawn.lines.append(list(Segment.strip_links(line)))
    return drawn


def _note_places(line: list[Segment], drawn: DrawnPage) -> None:
    """Note which source lines and links a line shows; it is to be the next of the page."""
    y, x = len(drawn.lines), 0
    for segment in line:
        if segment.style is not None:
            if (source_line := segment.style.meta.get(SOURCE_LINE)) is not None:
                drawn.lines_of.setdefault(source_line, y)
            if href := segment.style.link:
                _note_link(drawn.links, href, (y, x, x + segment.cell_length))
        x += segment.cell_length


def _note_link(links: list[Link], href: str, span: tuple[int, int, int]) -> None:
    """Add a link, or the next part of one that is several segments or lines long."""
    y, start, _ = span
    if links and links[-1].href == href:
        last_y, _, last_end = links[-1].spans[-1]
        if (y == last_y and start == last_end) or y == last_y + 1:
            links[-1] = Link(href, (*links[-1].spans, span))
            return
    links.append(Link(href, (span,)))
