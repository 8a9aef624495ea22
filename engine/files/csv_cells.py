"""Cells of tables that people open in spreadsheets, which run what begins like a formula. Imports no torch."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def path_cell(path: str) -> str:
    """A path that no spreadsheet takes for a formula and every program still finds: ``=x.png`` → ``./=x.png``."""
    return f"./{path}" if path.startswith(_FORMULA) else path


def text_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: ``=1+1`` → ``'=1+1``, as spreadsheets mark text; numbers stay."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text and "_" not in text
