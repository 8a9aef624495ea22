"""The search line of the manual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tltui.widgets.safe_input import SafeInput


class ManualSearch(Horizontal):
    """Takes words and shows the number of hits."""

    DEFAULT_CSS = """
    ManualSearch {
        height: 1;
        padding: 0 1;

        & > Input { width: 1fr; background: transparent; &:focus { background-tint: transparent 0%; } }
        & > Static { width: auto; color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "leave", "list of hits", id="manual_search.leave", show=False),
    ]

    @dataclass
    class Changed(Message):
        """The words changed."""

        words: str

    @dataclass
    class Submitted(Message):
        """The words were submitted."""

    def __init__(self) -> None:
        super().__init__()
        self._words = SafeInput(placeholder="search all pages", compact=True, select_on_focus=True)
        self._count = Static()

    def compose(self) -> ComposeResult:
        yield Static(Content("/"))
        yield self._words
        yield self._count

    @property
    def words(self) -> str:
        """The current words."""
        return self._words.value.strip()

    def begin(self) -> None:
        """Focus the input; it keeps the last words, selected."""
        self._words.focus()
        self.post_message(self.Changed(self.words))

    def show_count(self, count: int) -> None:
        """Show the number of hits."""
        self._count.update(Content(f"{count} found" if count else "no match" if self.words else ""))

    def action_leave(self) -> None:
        """Focus the hits."""
        self.post_message(self.Submitted())

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(self.words))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_leave()
