"""An input whose text can't steer the terminal, wherever it came from."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input


class SafeInput(Input):
    """Shows a control character as a mark of the same width; the value keeps it."""

    @property
    def _value(self) -> Text:
        """What Textual's input draws; it would send control characters on as they are."""
        shown = "".join(character if character.isprintable() else "?" for character in self.value)
        return Text(shown, no_wrap=True, overflow="ignore", end="")
