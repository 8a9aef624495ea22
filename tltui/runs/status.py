"""A run's status as a glyph and a word, readable without colour."""

from __future__ import annotations

from textual.content import Content

from tltui.text.glyphs import Glyphs

ENDED = frozenset({"completed", "stopped", "failed", "lost"})
RESUMABLE = ENDED - {"completed"}

# status → (field of Glyphs, style)
_MARKS = {
    "queued": ("queued", ""),
    "draft": ("queued", ""),
    "paused": ("paused", "$text-warning"),
    "completed": ("done", "$text-success"),
    "stopped": ("stopped", ""),
    "failed": ("failed", "$text-error"),
    "lost": ("lost", "$text-error"),
}
_RUNNING = ("running", "$text-primary")


def is_alive(status: str) -> bool:
    """Whether a run with this status has a worker, or is starting one."""
    return status not in ENDED and status not in ("queued", "draft")


def status_mark(status: str, glyphs: Glyphs) -> Content:
    """Glyph and word."""
    field, style = _MARKS.get(status, _RUNNING)
    return Content.assemble((getattr(glyphs, field), style), f" {status}")
