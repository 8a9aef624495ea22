"""The manual: list of pages, one page, search in all pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tltui.manual.pages import Page, pages, plain
from tltui.manual.search import Hit, search
from tltui.manual.topics import Location, find
from tltui.text.glyphs import ASCII, Glyphs
from tltui.widgets.key_line import KeyLine
from tltui.widgets.manual_page import ManualPage
from tltui.widgets.manual_search import ManualSearch
from tltui.widgets.title_line import TitleLine

_WIDE = 100  # columns from which list and page are side by side
_MOST_HITS = 200
_BEFORE = 24  # characters shown before a hit
_NAME = 18  # columns of a page's name


def location_for(screen: Screen[object]) -> Location | None:
    """The location for the focused widget, or the nearest ancestor with a ``manual_topic``."""
    nodes: list[DOMNode] = [*(screen.focused.ancestors_with_self if screen.focused else []), screen]
    topics = (getattr(node, "manual_topic", None) for node in nodes)
    return next((location for topic in topics if topic and (location := find(topic))), None)


@dataclass(frozen=True)
class _Place:
    """A place in the history: a page and its first visible source line."""

    page: Page
    line: int


class Manual(Screen[None]):
    """Shows list and page; on a narrow screen one of them."""

    CSS_PATH = "manual.tcss"
    AUTO_FOCUS = ""  # else the list would show its first page
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012 (Textual declares them as instance variables)

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "search all pages", id="manual.search"),
        Binding("left", "list", "list of pages", id="manual.list"),
        Binding("right", "page", "page", id="manual.page"),
        Binding("escape", "back", "back", id="manual.back"),
        Binding("q", "close", "close the manual", id="manual.close"),
    ]

    def __init__(self, location: Location | None, glyphs: Glyphs) -> None:
        """``location``: where to open; None: the list of pages."""
        super().__init__()
        self._glyphs = glyphs
        self._start = location
        self._history: list[_Place] = []
        self._hits: list[Hit] = []
        self._title = TitleLine()
        self._list = OptionList(*map(_row_of, pages().values()), id="pages", compact=True)
        self._hit_list = OptionList(id="found", compact=True)
        self._page = ManualPage(ascii_only=glyphs is ASCII)
        self._search = ManualSearch()

    def compose(self) -> ComposeResult:
        self.set_class(self.app.size.width < _WIDE, "-narrow")  # else the page would be drawn at two widths
        yield self._title
        with Horizontal(id="manual"):
            yield self._list
            yield self._page
            yield self._hit_list
        yield self._search
        yield KeyLine()

    def on_mount(self) -> None:
        self.show(self._start or Location(next(iter(pages()))))
        if self._start is None:
            self.action_list()
        else:
            self.action_page()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """List is possible from the page, page from the list."""
        if action in ("list", "page"):
            return self._list.has_focus == (action == "page") and not self.has_class("-search")
        return True

    # Pages

    def show(self, location: Location) -> None:
        """Show a page from its top or from a heading."""
        page = pages()[location.page]
        line = next((heading.line for heading in page.headings if heading.anchor == location.anchor), 0)
        self._show_page(page, line)

    def _show_page(self, page: Page, line: int, words: str = "") -> None:
        self._page.show(page, line, words)
        self._list.highlighted = list(pages()).index(page.id)
        self._title.show(f"manual  {page.title}", Content(f"tltui help {page.id}"))

    @on(OptionList.OptionHighlighted, "#pages")
    def _page_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        page = pages()[str(event.option_id)]
        if page != self._page.page and self._list.has_focus:
            self._show_page(page, 0)

    @on(OptionList.OptionSelected, "#pages")
    def _page_chosen(self, event: OptionList.OptionSelected) -> None:
        self.action_page()

    @on(ManualPage.Followed)
    def _followed(self, event: ManualPage.Followed) -> None:
        target, _, anchor = event.href.partition("#")
        here = self._page.page
        page_id = target.removesuffix(".md") if target else here.id if here else ""
        if page_id in pages():
            self.go_to(Location(page_id, anchor))
        else:
            self.app.copy_to_clipboard(event.href)
            self.notify(event.href, title="Link copied", markup=False)

    def go_to(self, location: Location) -> None:
        """Show a page; ``escape`` returns to the current place."""
        self._push_place()
        self.show(location)
        self.action_page()

    def _push_place(self) -> None:
        if self._page.page is not None:
            self._history.append(_Place(self._page.page, self._page.source_line))

    def action_list(self) -> None:
        """Focus the list of pages."""
        self.add_class("-list")
        self._list.focus()

    def action_page(self) -> None:
        """Focus the page."""
        self.remove_class("-list")
        self._page.focus()

    @on(events.DescendantFocus)
    def _list_in_focus(self) -> None:
        self.set_class(self._list.has_focus, "-list")
        self.refresh_bindings()

    # Searching

    def action_search(self) -> None:
        """Search all pages."""
        self.add_class("-search")
        self._search.begin()

    @on(ManualSearch.Changed)
    def _words_changed(self, event: ManualSearch.Changed) -> None:
        self._hits = search(event.words)
        self._hit_list.clear_options()
        self._hit_list.add_options(Option(self._row(hit)) for hit in self._hits[:_MOST_HITS])
        self._hit_list.highlighted = 0 if self._hits else None
        self._search.show_count(len(self._hits))
        self.set_class(bool(event.words) and self.has_class("-search"), "-hits")

    @on(ManualSearch.Submitted)
    def _words_complete(self) -> None:
        if self._hits:
            self._hit_list.focus()

    def _row(self, hit: Hit) -> Content:
        start = max(hit.start - _BEFORE, 0) if hit.end > _BEFORE * 2 else 0
        before = (self._glyphs.ellipsis if start else "") + hit.text[start : hit.start]
        words = (hit.text[hit.start : hit.end], "bold underline")
        return Content.assemble(f"{hit.page:<{_NAME}}", before, words, hit.text[hit.end :])

    @on(OptionList.OptionSelected, "#found")
    def _hit_chosen(self, event: OptionList.OptionSelected) -> None:
        hit = self._hits[event.option_index]
        self._push_place()
        self._end_search()
        self._show_page(pages()[hit.page], hit.line, hit.text[hit.start : hit.end])

    def _end_search(self) -> None:
        self.remove_class("-search", "-hits")
        self.action_page()

    # Leaving

    def action_back(self) -> None:
        """Leave the search, return to the previous page, or close the manual."""
        if self.has_class("-search"):
            self._end_search()
        elif self._history:
            place = self._history.pop()
            self._show_page(place.page, place.line)
            self.action_page()
        else:
            self.dismiss()

    def action_close(self) -> None:
        """Close the manual."""
        self.dismiss()


def _row_of(page: Page) -> Option:
    return Option(Content(f"{page.id:<{_NAME}}{plain(page.summary)}"), id=page.id)
