"""A segmented switch: a choice of few values, all on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tltui.text.glyphs import ASCII, UNICODE, Glyphs


def in_brackets(word: str, glyphs: Glyphs) -> str:
    """Mark a word as the chosen one."""
    return f"[{word}]" if glyphs is ASCII else f"‹{word}›"


class Choice(Widget, can_focus=True):
    """Left, right or a click picks a value; the picked one is in brackets."""

    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; color: $text-muted; }
    Choice:focus { background: $primary 20%; color: $foreground; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "previous value", id="choice.previous", show=False),
        Binding("right,space", "step(1)", "next value", id="choice.next", show=False),
    ]

    value: reactive[Any] = reactive(None)

    @dataclass
    class Picked(Message):
        """The user picked ``value``."""

        choice: Choice
        value: Any

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, options: Sequence[tuple[Any, str]], value: Any, glyphs: Glyphs = UNICODE) -> None:  # noqa: ANN401
        """``options``: pairs of value and label."""
        super().__init__()
        self._options = list(options)
        self._glyphs = glyphs
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        parts = []
        for value, word in self._options:
            if value == self.value:
                parts.append(Content.styled(in_brackets(word, self._glyphs), "bold $text-primary"))
            else:
                parts.append(Content(f" {word} "))
        return Content("").join(parts)

    def action_step(self, by: int) -> None:
        values = [value for value, _ in self._options]
        at = values.index(self.value) if self.value in values else 0
        self._pick(values[(at + by) % len(values)])

    def on_click(self, event: events.Click) -> None:
        start = 0
        for value, word in self._options:
            start += len(word) + 2
            if event.x < start:
                self._pick(value)
                return

    def _pick(self, value: Any) -> None:  # noqa: ANN401
        if value != self.value and not self.disabled:
            self.value = value
            self.post_message(self.Picked(self, value))
