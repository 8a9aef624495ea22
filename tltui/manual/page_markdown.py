"""Rich's Markdown for pages: headings at the left, code unchanged, all text tagged with its source line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from markdown_it.token import Token
from rich import markdown as rich_markdown
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, MarkdownContext, MarkdownElement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text, TextType

SOURCE_LINE = "source_line"
"""Key of the source line, from 0, in a style's meta."""

_GAP = 2  # columns between those of a table


def _at(token: Token) -> int | None:
    return token.map[0] if token.map else None


class _Placed(MarkdownElement):
    """An element whose text is tagged with its source line."""

    line: int | None = None

    def on_text(self, context: MarkdownContext, text: TextType) -> None:
        if self.line is None:
            super().on_text(context, text)
            return
        context.enter_style(Style(meta={SOURCE_LINE: self.line}))
        super().on_text(context, text)
        context.leave_style()


class _Heading(_Placed, rich_markdown.Heading):
    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Heading:
        heading = (_Heading if token.tag in ("h1", "h2") else _EntryHeading)(token.tag)
        heading.line = _at(token)
        return heading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _EntryHeading(_Heading):
    """A heading without a blank line below, to fit more entries on a screen."""

    new_line = False


class _Paragraph(_Placed, rich_markdown.Paragraph):
    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Paragraph:
        paragraph = cls(justify="left")
        paragraph.line = _at(token)
        return paragraph


class _Row(rich_markdown.TableRowElement):
    line: int | None = None

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Row:
        row = cls()
        row.line = _at(token)
        return row


class _Cell(_Placed, rich_markdown.TableDataElement):
    def on_enter(self, context: MarkdownContext) -> None:
        super().on_enter(context)
        row = context.stack[-2]
        self.line = row.line if isinstance(row, _Row) else None


class _Table(rich_markdown.TableElement):
    """A table with a line below its head. Rich's own takes three times as long to draw."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head = [cell.content.copy() for cell in self.header.row.cells] if self.header and self.header.row else []
        for text in head:
            text.stylize("markdown.table.header")
        body = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        widths = _column_widths([head, *body], options.max_width - _GAP * (len(head) - 1))
        yield from _row(head, widths, console)
        line = ("-" if options.ascii_only else "─") * (sum(widths) + _GAP * (len(head) - 1))
        yield Segment(line, console.get_style("markdown.table.border"))
        yield Segment.line()
        for row in body:
            yield from _row(row, widths, console)


def _row(cells: Sequence[Text], widths: Sequence[int], console: Console) -> Iterator[Segment]:
    """Render a row of a table, as high as its highest cell."""
    columns = [
        [text] if text.cell_len <= width else list(text.wrap(console, width))
        for text, width in zip(cells, widths, strict=True)
    ]
    for parts in zip_longest(*columns, fillvalue=Text("")):
        for part, width in zip(parts, widths, strict=True):
            yield from part.render(console)
            yield Segment(" " * (width - part.cell_len + _GAP))
        yield Segment.line()


def _column_widths(rows: Sequence[Sequence[Text]], room: int) -> list[int]:
    """Fit columns to their texts; without room shrink the widest, those that wrap between words first."""
    columns = list(zip(*rows, strict=True))
    widths = [max(text.cell_len for text in column) for column in columns]
    words = [max(max(map(len, text.plain.split()), default=0) for text in column) for column in columns]
    while sum(widths) > max(room, len(widths)):
        can_wrap = [at for at, width in enumerate(widths) if width > words[at]]
        widths[max(can_wrap or range(len(widths)), key=widths.__getitem__)] -= 1
    return widths


class _Item(rich_markdown.ListItem):
    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.elements, options.update(width=options.max_width - 2), style=self.style)
        for number, line in enumerate(lines):
            yield Segment(("- " if options.ascii_only else "• ") if number == 0 else "  ")
            yield from line
            yield Segment.line()


class _Code(rich_markdown.CodeBlock):
    """Lines of code; long ones are wrapped."""

    line: int | None = None

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        code = cls("text", "")
        code.line = _at(token)
        return code

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inside = options.update(width=max(options.max_width - 2, 1))
        for number, code in enumerate(str(self.text).rstrip().splitlines(), 1):
            style = console.get_style("markdown.code_block")
            style += Style(meta={SOURCE_LINE: self.line + number}) if self.line is not None else Style()
            for line in console.render_lines(Text(code, style, overflow="fold"), inside, pad=False):
                yield Segment("  ")
                yield from line
                yield Segment.line()


class PageMarkdown(Markdown):
    """A page of the manual."""

    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "paragraph_open": _Paragraph,
        "table_open": _Table,
        "tr_open": _Row,
        "td_open": _Cell,
        "th_open": _Cell,
        "list_item_open": _Item,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parsed = [token for token in self.parsed if token.type != "html_block"]
