"""A report as one Markdown file with its images as data URLs."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from engine.files.markdown import inline
from tltui.report.parts import Chart, Code, Heading, Paragraph, Part, Table, Thumbnails


def page(parts: Iterable[Part]) -> str:
    """The whole file."""
    return "\n".join(_part(part, first=at == 0) for at, part in enumerate(parts))


def _part(part: Part, *, first: bool) -> str:
    match part:
        case Heading(text):
            return f"{'#' if first else '##'} {inline(text)}\n"
        case Paragraph(text):
            return f"{inline(text)}\n"
        case Code(text):
            fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
            return f"{fence}toml\n{text.rstrip()}\n{fence}\n"
        case Table(columns, rows):
            lines = [columns, ["---"] * len(columns)]
            head = [f"| {' | '.join(inline(cell) for cell in columns)} |", f"| {' | '.join(lines[1])} |"]
            return "\n".join([*head, *(f"| {' | '.join(inline(cell) for cell in row)} |" for row in rows)]) + "\n"
        case Chart():  # the table of epochs has its values
            return ""
        case Thumbnails(images):
            return "\n".join(f"{_image(one.png)}\n{inline(one.caption)}\n" for one in images)


def _image(png: bytes) -> str:
    return f"![](data:image/png;base64,{base64.b64encode(png).decode()})\n" if png else ""
