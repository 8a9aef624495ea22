"""The pages of the manual, their order and their headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
INDEX = "index"

# A line of index.md: the page's title, its file, one line about it.
_ENTRY = re.compile(r"- \[(?P<title>[^]]+)\]\((?P<id>[a-z-]+)\.md\): (?P<summary>.+)")
_HEADING = re.compile(r"(?P<marks>#{1,6}) (?P<text>.+)")
_COMMENT = re.compile(r"<!-- .* -->")
BLOCK_BEGINS = re.compile(r"<!-- generated: (?P<name>[a-z-]+) -->")
BLOCK_ENDS = "<!-- end generated -->"
_MARKUP = re.compile(r"[`*]|\[(?P<text>[^]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Page:
    """One page, as index.md lists it."""

    id: str
    title: str
    summary: str

    @property
    def text(self) -> str:
        """The Markdown of the page."""
        return source(self.id)

    @property
    def headings(self) -> list[Heading]:
        """The headings, from top to bottom."""
        return _headings(self.text)


@dataclass(frozen=True)
class Heading:
    """A heading. ``anchor``: fragment of links to it; ``line``: its source line, from 0.

    ``block``: the generated block around it, "" for prose.
    """

    level: int
    text: str
    anchor: str
    line: int
    block: str


@cache
def pages() -> dict[str, Page]:
    """All pages but the index, by id, in the order of the index."""
    entries = map(_ENTRY.fullmatch, source(INDEX).splitlines())
    return {entry["id"]: Page(**entry.groupdict()) for entry in entries if entry}


def source(page_id: str) -> str:
    """Read the file of a page."""
    return (FOLDER / f"{page_id}.md").read_text(encoding="utf-8")


def section(page: Page, anchor: str) -> str:
    """The text from a heading to the next of the same level."""
    lines = page.text.splitlines(keepends=True)
    headings = page.headings
    at = next(at for at, heading in enumerate(headings) if heading.anchor == anchor)
    end = next((after.line for after in headings[at + 1 :] if after.level <= headings[at].level), len(lines))
    return "".join(lines[headings[at].line : end])


def without_comments(text: str) -> str:
    """Remove the comment lines that mark generated blocks."""
    kept = [line for line in text.splitlines() if not _COMMENT.fullmatch(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"


def plain(markdown: str) -> str:
    """Remove markup from a line of Markdown."""
    return _MARKUP.sub(lambda found: found["text"] or "", markdown).strip()


def _headings(text: str) -> list[Heading]:
    found: list[Heading] = []
    in_code = False
    block = ""
    for number, line in enumerate(text.splitlines()):
        in_code ^= line.lstrip().startswith("```")
        if begins := BLOCK_BEGINS.fullmatch(line):
            block = begins["name"]
        elif line == BLOCK_ENDS:
            block = ""
        elif not in_code and (heading := _HEADING.fullmatch(line)):
            words = plain(heading["text"])
            anchor = _anchor(words)
            same = sum(before.text == words for before in found)
            found.append(Heading(len(heading["marks"]), words, f"{anchor}-{same}" if same else anchor, number, block))
    return found


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
