"""Texts of the code as Markdown."""

from __future__ import annotations

import re

# What would be read as emphasis, HTML or a link.
_MARKUP = re.compile(r"\*|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!])|\](?=\()")


def prose(text: str | None) -> str:
    """A docstring or help text as Markdown in one line: code in single backticks, nothing that counts as markup."""
    joined = " ".join((text or "").split()).replace("``", "`")
    outside = re.split(r"(`[^`]*`)", joined)  # what is between backticks stays as it is
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\g<0>", part) for part in outside)


def cell(text: str) -> str:
    """Markdown in a table's cell."""
    return text.replace("|", "\\|")


def table(*rows: tuple[str, ...]) -> str:
    """Rows of Markdown as a table; the first is its head."""
    head, *body = ("| " + " | ".join(map(cell, row)) + " |" for row in rows)
    return "\n".join([head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body])
