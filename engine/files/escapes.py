"""Makes untrusted text safe to print, such as names of files, classes and runs. Imports no torch."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any


def printable(text: str) -> str:
    """``text`` on one line, with everything that could control a terminal or break JSON escaped (``\\x1b``).

    This covers control characters, marks that reorder text, and lone surrogates. Python decodes bytes of a file name
    that are not valid UTF-8 to lone surrogates.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def all_printable(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """A JSON value with ``printable`` applied to all strings in it."""
    match value:
        case str():
            return printable(value)
        case list():
            return [all_printable(item) for item in value]
        case dict():
            return {printable(key): all_printable(item) for key, item in value.items()}
    return value


def name_of(path: str | Path) -> str:
    """A file name of any bytes as printable text."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _printable(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
