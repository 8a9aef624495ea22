"""Text from outside, made safe to print: names of files, classes and runs are chosen by others. Imports no torch."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any


def printable(text: str) -> str:
    """``text`` on one line, with everything that could steer a terminal or a reader of JSON written out (``\\x1b``).

    Besides control characters this covers marks that reorder text and halves of surrogate pairs, as which Python
    holds the bytes of a file name that are no UTF-8.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def all_printable(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Lists and tables with all texts in them made printable."""
    match value:
        case str():
            return printable(value)
        case list():
            return [all_printable(item) for item in value]
        case dict():
            return {printable(key): all_printable(item) for key, item in value.items()}
    return value


def name_of(path: str | Path) -> str:
    """A file's name as printable text, whatever bytes it has."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _printable(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
