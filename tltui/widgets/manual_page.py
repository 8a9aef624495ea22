"""A scrolling page of the manual, with links reached by keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tltui.manual.drawing import DrawnPage, Link, draw
from tltui.manual.pages import Page

_WIDEST = 100  # columns; longer lines are hard to read

# Rich's style names by component class.
_STYLES = {
    "title": ("markdown.h1", "markdown.h2"),
    "heading": ("markdown.h3", "markdown.h4", "markdown.table.header"),
    "code": ("markdown.code", "markdown.code_block"),
    "link": ("markdown.link_url",),
    "frame": ("markdown.table.border", "markdown.hr"),
    "text": ("markdown.item.bullet", "markdown.item.number", "markdown.block_quote"),
}


class ManualPage(ScrollView, can_focus=True, inherit_bindings=False):
    """Draws one page at the width of the widget."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"manual-page--{name}" for name in _STYLES),
        "manual-page--chosen",
        "manual-page--found",
    }

    DEFAULT_CSS = """
    ManualPage {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        overflow: hidden scroll;
        & > .manual-page--title { color: $text-primary; text-style: bold; }
        & > .manual-page--heading { color: $foreground; text-style: bold; }
        & > .manual-page--code { color: $text-accent; }
        & > .manual-page--link { color: $text-secondary; text-style: underline; }
        & > .manual-page--frame { color: $text-muted; }
        & > .manual-page--text { color: $foreground; }
        & > .manual-page--chosen {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: none;
        }
        & > .manual-page--found { text-style: reverse; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "line up", id="manual.up", show=False),
        Binding("down", "scroll_down", "line down", id="manual.down", show=False),
        Binding("pageup", "page_up", "page up", id="manual.page_up", show=False),
        Binding("pagedown,space", "page_down", "page down", id="manual.page_down", show=False),
        Binding("home", "scroll_home", "top of the page", id="manual.top", show=False),
        Binding("end", "scroll_end", "end of the page", id="manual.end", show=False),
        Binding("tab", "next_link", "next link", id="manual.next_link"),
        Binding("enter", "follow", "follow link", id="manual.follow"),
    ]

    @dataclass
    class Followed(Message):
        """The user follows a link."""

        href: str

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii_only = ascii_only
        self._page: Page | None = None
        self._source_line = 0
        self._words = ""
        self._drawn = DrawnPage()
        self._drawn_as: tuple[str, int, dict[str, Style]] | None = None
        self._chosen: Link | None = None

    @property
    def page(self) -> Page | None:
        """The current page."""
        return self._page

    @property
    def source_line(self) -> int:
        """The first visible line of the page's source."""
        above = [line for line, y in self._drawn.lines_of.items() if y <= self.scroll_offset.y]
        return max(above, default=0)

    def show(self, page: Page, source_line: int = 0, words: str = "") -> None:
        """Show a page from a source line, with ``words`` highlighted."""
        self._page, self._source_line, self._words = page, source_line, words.lower()
        self._chosen = None
        self._drawn_as = None
        if self._draw():  # else on the first resize
            self._go_to_line()

    def render_line(self, y: int) -> Strip:
        """Draw one line, with current link and search words highlighted."""
        at = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if at >= len(self._drawn.lines):
            return Strip.blank(width, self.rich_style)
        strip = Strip(self._drawn.lines[at])
        found = strip.text.lower().find(self._words) if self._words else -1
        while found >= 0:
            strip = _restyled(strip, found, found + len(self._words), self._style("found"))
            found = strip.text.lower().find(self._words, found + len(self._words))
        for line, start, end in self._chosen.spans if self._chosen else ():
            if line == at:
                strip = _restyled(strip, start, end, self._style("chosen"))
        return strip.apply_style(self.rich_style).adjust_cell_length(width, self.rich_style)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Link keys need a link."""
        if action == "next_link":
            return bool(self._drawn.links)
        return action != "follow" or self._chosen is not None

    def action_next_link(self) -> None:
        """Choose the next visible link, else the next below, else the first."""
        links = self._drawn.links
        top = self.scroll_offset.y
        if self._chosen in links and self._is_visible(self._chosen):
            at = (links.index(self._chosen) + 1) % len(links)
        else:
            at = next((at for at, link in enumerate(links) if link.spans[0][0] >= top), 0)
        self._chosen = links[at]
        if not self._is_visible(self._chosen):
            self.scroll_to(y=self._chosen.spans[0][0] - self.size.height // 3, animate=False)
        self.refresh()
        self.refresh_bindings()

    def action_follow(self) -> None:
        """Follow the chosen link."""
        if self._chosen is not None:
            self.post_message(self.Followed(self._chosen.href))

    def on_click(self, event: events.Click) -> None:
        """Follow the link under the pointer."""
        place = event.get_content_offset(self)
        if place is not None:
            at = place.y + self.scroll_offset.y
            for link in self._drawn.links:
                if any(line == at and start <= place.x < end for line, start, end in link.spans):
                    self.post_message(self.Followed(link.href))

    def on_resize(self) -> None:
        """Redraw at the new width, from the same source line."""
        if self._drawn_as is not None:
            self._source_line = self.source_line
        if self._draw():
            self._go_to_line()

    def notify_style_update(self) -> None:
        """Redraw in the colours of a new theme."""
        super().notify_style_update()
        if self._drawn_as is not None:
            self._draw()

    def _draw(self) -> bool:
        """Draw the page if page, width or style changed; returns whether it did."""
        width = min(self.scrollable_content_region.width, _WIDEST)
        if self._page is None or width <= 0:
            return False
        styles = {name: self._style(of) for of, names in _STYLES.items() for name in names}
        if (drawn_as := (self._page.id, width, styles)) == self._drawn_as:
            return False
        self._drawn = draw(self._page.text, width, styles, ascii_only=self._ascii_only)
        self._drawn_as = drawn_as
        self._chosen = None
        self.virtual_size = Size(width, len(self._drawn.lines))
        self.refresh()
        self.refresh_bindings()
        return True

    def _go_to_line(self) -> None:
        self.scroll_to(y=self._drawn.place(self._source_line), animate=False, force=True)
        self.refresh()

    def _is_visible(self, link: Link) -> bool:
        return 0 <= link.spans[0][0] - self.scroll_offset.y < self.size.height

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"manual-page--{name}", partial=True)


def _restyled(strip: Strip, start: int, end: int, style: Style) -> Strip:
    """Restyle one part of a strip."""
    inside = Strip(Segment.apply_style(strip.crop(start, end), post_style=style))
    return Strip.join([strip.crop(0, start), inside, strip.crop(end)])
