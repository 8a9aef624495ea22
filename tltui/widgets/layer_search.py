"""The search line below the layer tree."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static


class LayerSearch(Horizontal):
    """Takes a query and shows how many layers match."""

    DEFAULT_CSS = """
    LayerSearch {
        height: 1;
        padding: 0 1;

        & > Input { width: 1fr; background: transparent; &:focus { background-tint: transparent 0%; } }
        & > Static { width: auto; color: $text-muted; }
    }
    """

    @dataclass
    class Changed(Message):
        """The query changed."""

        query: str

    @dataclass
    class Submitted(Message):
        """The query was submitted."""

        query: str

    def compose(self) -> ComposeResult:
        yield Static(Content("/"))
        yield Input(placeholder="name, type or shape", compact=True, select_on_focus=True)
        yield Static(classes="place")

    def begin(self) -> None:
        """Focus the input; it keeps the last query, selected."""
        words = self.query_one(Input)
        words.focus()
        if words.value:
            self.post_message(self.Changed(words.value))

    def show_place(self, place: int, count: int) -> None:
        """Show the number of the current match, from 1."""
        text = f"{place} of {count}" if count else "no match" if self.query_one(Input).value.strip() else ""
        self.query_one(".place", Static).update(Content(text))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted(event.value))
