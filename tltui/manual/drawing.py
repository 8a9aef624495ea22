"""Draws pages as terminal lines, with the positions of links and source lines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.theme import Theme

from tltui.manual.page_markdown import SOURCE_LINE, PageMarkdown

# Styles by Rich style name, in the sixteen colours that every terminal has.
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
    """A link: its target, and its spans as (line, first column, column after)."""

    href: str
    spans: tuple[tuple[int, int, int], ...]


@dataclass
class DrawnPage:
    """A page drawn at one width. ``lines_of``: source line → line where its text starts."""

    lines: list[list[Segment]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    lines_of: dict[int, int] = field(default_factory=dict)

    def place(self, source_line: int) -> int:
        """The line where a source line, or the nearest one before it, is drawn."""
        before = [line for line in self.lines_of if line <= source_line]
        return self.lines_of[max(before)] if before else 0


def draw(text: str, width: int, styles: Mapping[str, str | Style], *, ascii_only: bool) -> DrawnPage:
    """Draw Markdown; ``styles`` have the names of ``TERMINAL_STYLES``."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, theme=Theme(styles), highlight=False)
    options = console.options.update(width=width)
    options.encoding = "ascii" if ascii_only else "utf-8"
    drawn = DrawnPage()
    for line in console.render_lines(PageMarkdown(text), options, pad=False):
        _record_places(line, drawn)
        drawn.lines.append(list(Segment.strip_links(line)))
    return drawn


def _record_places(line: list[Segment], drawn: DrawnPage) -> None:
    """Record source lines and links of the next line of the page."""
    y, x = len(drawn.lines), 0
    for segment in line:
        if segment.style is not None:
            if (source_line := segment.style.meta.get(SOURCE_LINE)) is not None:
                drawn.lines_of.setdefault(source_line, y)
            if href := segment.style.link:
                _record_link(drawn.links, href, (y, x, x + segment.cell_length))
        x += segment.cell_length


def _record_link(links: list[Link], href: str, span: tuple[int, int, int]) -> None:
    """Add a link, or another span of the last one."""
    y, start, _ = span
    if links and links[-1].href == href:
        last_y, _, last_end = links[-1].spans[-1]
        if (y == last_y and start == last_end) or y == last_y + 1:
            links[-1] = Link(href, (*links[-1].spans, span))
            return
    links.append(Link(href, (span,)))
