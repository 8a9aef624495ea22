"""A field for a setting too long for a line: a summary; a dialog changes it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tltui.text.glyphs import UNICODE, Glyphs, safe


class SummaryField(Widget, can_focus=True):
    """Shows ``words``; ``enter`` posts ``Opened``."""

    DEFAULT_CSS = """
    SummaryField { height: 1; width: 1fr; }
    SummaryField:focus { background: $primary 20%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "choose", id="choice.open", show=False)]

    class Opened(Message):
        """The user opens the dialog."""

    def __init__(self, words: str, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self._words = words
        self._glyphs = glyphs

    def show(self, words: str) -> None:
        """Replace the summary."""
        self._words = words
        self.refresh()

    def render(self) -> Content:
        return Content(" " + safe(self._words or "none", self.content_size.width - 2, self._glyphs.ellipsis))

    def action_open(self) -> None:
        self.post_message(self.Opened())
