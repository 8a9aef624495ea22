"""An input for a path, with completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.suggester import Suggester

from engine.config.data_paths import has_dataset_name
from tltui.text.glyphs import safe
from tltui.widgets.safe_input import SafeInput


class PathInput(SafeInput):
    """``tab`` or ``right`` accepts the completion; without one, ``tab`` focuses the next field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete path", id="path.complete", show=False)
    ]

    def __init__(self, value: str = "", placeholder: str = "", *, datasets_only: bool, id: str | None = None) -> None:
        super().__init__(
            value, placeholder, suggester=_PathSuggester(datasets_only), compact=True, select_on_focus=False, id=id
        )

    def action_complete(self) -> None:
        if self._suggestion and self._suggestion != self.value:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()


class _PathSuggester(Suggester):
    def __init__(self, datasets_only: bool) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._datasets_only = datasets_only

    async def get_suggestion(self, value: str) -> str | None:
        return complete(value, datasets_only=self._datasets_only)


def complete(typed: str, *, datasets_only: bool) -> str | None:
    """Complete ``typed`` to the first matching name, with a slash after a folder; None without a match.

    ``datasets_only``: of the files, only archives and tables match.
    """
    if not typed:
        return None
    parent, start = os.path.split(typed)
    try:
        with os.scandir(Path(parent or ".").expanduser()) as entries:
            fitting = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(start)
                and safe(entry.name) == entry.name
                and (start.startswith(".") or not entry.name.startswith("."))
                and (entry.is_dir() or not datasets_only or has_dataset_name(entry.name))
            )
    except OSError:
        return None
    return os.path.join(parent, fitting[0]) if fitting else None
