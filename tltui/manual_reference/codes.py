"""Warning codes and exit codes."""

from __future__ import annotations

from engine.runs import exit_codes as exits
from engine.warning_codes import MEANINGS
from tltui.manual_reference.words import prose, table


def warning_codes() -> str:
    """Every warning code with its meaning."""
    return "\n\n".join(f"### `{code}`\n\n{prose(meaning)}" for code, meaning in MEANINGS.items())


def exit_codes() -> str:
    """Every exit code with its meaning."""
    return table(("code", "meaning"), *((f"`{code}`", prose(meaning)) for code, meaning in exits.MEANINGS.items()))
