"""Named styles of printed pages."""

from __future__ import annotations

# The styles of an experiment's page, in the sixteen colours that every terminal has.
PAGE_STYLES = {
    "title": "bold",
    "curve": "cyan",
    "mark": "yellow",
    "best": "bold green",
    "phase": "green",
    "axis": "bright_black",
    "note": "",
}
