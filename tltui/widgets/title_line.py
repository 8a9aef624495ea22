"""The first line of a screen: title on the left, status on the right."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


class TitleLine(Widget):
    """Shows two texts; the left one is shortened where room is short."""

    DEFAULT_CSS = """
    TitleLine { height: 1; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = Content("")
        self._right = Content("")

    def show(self, left: str, right: Content) -> None:
        """Show title and status; ``left`` is plain text, never markup."""
        shown = Content.assemble(("tltui", "bold $text-primary"), "  ", left)
        if (shown, right) != (self._left, self._right):
            self._left, self._right = shown, right
            self.refresh()

    def render(self) -> Content:
        room = max(self.content_size.width - self._right.cell_length - 2, 0)
        left = self._left.truncate(room, ellipsis=not self.app.has_class("-ascii"))
        gap = self.content_size.width - left.cell_length - self._right.cell_length
        return Content.assemble(left, " " * max(gap, 0), self._right)
