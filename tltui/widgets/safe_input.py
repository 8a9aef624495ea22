"""An input that sends no control characters to the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input


class SafeInput(Input):
    """Draws control characters as question marks; the value keeps them."""

    @property
    def _value(self) -> Text:
        """The text that Textual draws; it does not escape control characters."""
        shown = "".join(character if character.isprintable() else "?" for character in self.value)
        return Text(shown, no_wrap=True, overflow="ignore", end="")
