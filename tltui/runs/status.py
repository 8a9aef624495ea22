"""A run's status as a glyph and a word, readable without colour."""

from __future__ import annotations

from textual.content import Content

from engine.runs.run_status import RunStatus
from tltui.text.glyphs import Glyphs

# status → (field of Glyphs, style)
_MARKS = {
    RunStatus.QUEUED: ("queued", ""),
    RunStatus.DRAFT: ("queued", ""),
    RunStatus.PAUSED: ("paused", "$text-warning"),
    RunStatus.COMPLETED: ("done", "$text-success"),
    RunStatus.STOPPED: ("stopped", ""),
    RunStatus.FAILED: ("failed", "$text-error"),
    RunStatus.LOST: ("lost", "$text-error"),
}
_RUNNING = ("running", "$text-primary")


def status_mark(status: RunStatus, glyphs: Glyphs) -> Content:
    """Glyph and word."""
    field, style = _MARKS.get(status, _RUNNING)
    return Content.assemble((getattr(glyphs, field), style), f" {status}")
