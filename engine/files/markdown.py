"""Escapes untrusted text for Markdown. Imports no torch."""

from __future__ import annotations

import re

from engine.files.escapes import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
_FIRST = re.compile(r"^(\s*\d*)([-=.])")


def inline(text: str) -> str:
    """Escape ``text`` within a line or in a table cell."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def at_start(text: str) -> str:
    """Escape ``text`` at the beginning of a line, where it might be a list or a heading."""
    return _FIRST.sub(r"\1\\\2", inline(text))
