"""Searches all pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tltui.manual.pages import pages


@dataclass(frozen=True)
class Hit:
    """A match: source line, from 0, and the range ``start`` to ``end`` in ``text``."""

    page: str
    line: int
    text: str
    start: int
    end: int


def search(words: str) -> list[Hit]:
    """Find paragraphs, list items, table rows and lines of code that contain ``words``.

    Hits are in page order. Case and amount of whitespace do not matter.
    """
    query = " ".join(words.split()).lower()
    if not query:
        return []
    return [
        Hit(page_id, line, text, at, at + len(query))
        for page_id in pages()
        for line, text in _passages(page_id)
        if (at := text.lower().find(query)) >= 0
    ]


@cache
def _passages(page_id: str) -> list[tuple[int, str]]:
    """The texts of a page without markup, each with its source line."""
    return list(_texts(MarkdownIt().enable("table").parse(pages()[page_id].text)))


def _texts(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    row: list[str] | None = None
    row_line = 0
    for token in tokens:
        if token.type == "tr_open" and token.map:
            row, row_line = [], token.map[0]
        elif token.type == "tr_close" and row is not None:
            yield row_line, "  ".join(filter(None, row))
            row = None
        elif token.type == "fence" and token.map:
            for number, line in enumerate(token.content.splitlines(), token.map[0] + 1):
                yield number, " ".join(line.split())
        elif token.type == "inline":
            text = " ".join("".join(_plain(token)).split())
            if row is not None:
                row.append(text)
            elif token.map:
                yield token.map[0], text


def _plain(token: Token) -> Iterator[str]:
    for child in token.children or []:
        yield " " if child.type in ("softbreak", "hardbreak") else child.content
