"""Converts rows of (text, style name) to content in theme colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content

_STYLES = {
    "title": "bold",
    "curve": "$text-primary",
    "mark": "$text-warning",
    "best": "bold $text-success",
    "phase": "$text-success",
    "axis": "$text-muted",
    "note": "$foreground",
}


def styled_rows(rows: Iterable[Sequence[tuple[str, str]]]) -> Content:
    """Convert rows to the content of a widget."""
    lines = (Content.assemble(*((text, _STYLES[style]) for text, style in row)) for row in rows)
    return Content("\n").join(lines)
