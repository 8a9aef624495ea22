"""A setting that is too long for a line: what it holds, in short; another is chosen in a dialog."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tltui.text.glyphs import UNICODE, Glyphs, safe


class InShort(Widget, can_focus=True):
    """Shows ``words``; ``enter`` says that the user wants to choose."""

    DEFAULT_CSS = """
    InShort { height: 1; width: 1fr; }
    InShort:focus { background: $primary 20%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "choose", id="choice.open", show=False)]

    class Opened(Message):
        """The user wants to choose."""

    def __init__(self, words: str, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self._words = words
        self._glyphs = glyphs

    def show(self, words: str) -> None:
        """Show other words."""
        self._words = words
        self.refresh()

    def render(self) -> Content:
        return Content(" " + safe(self._words or "none", self.content_size.width - 2, self._glyphs.ellipsis))

    def action_open(self) -> None:
        self.post_message(self.Opened())
