"""A segmented switch: a choice of few values on one line, or as many of them as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len
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
    """Left, right or a click picks a value; the picked one is in brackets and always in view.

    An ellipsis at a side stands for more options there; a click on it picks the nearest of them.
    """

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
        return Content("").join(part for _, part in self._parts())

    def action_step(self, by: int) -> None:
        values = [value for value, _ in self._options]
        at = values.index(self.value) if self.value in values else 0
        self._pick(values[(at + by) % len(values)])

    def on_click(self, event: events.Click) -> None:
        start = 0
        for value, part in self._parts():
            start += part.cell_length
            if event.x < start:
                self._pick(value)
                return

    def _parts(self) -> Iterator[tuple[Any, Content]]:
        """What is shown from left to right, each with the value that a click on it picks."""
        window = self._window()
        if window.start > 0:
            yield self._options[window.start - 1][0], Content(self._glyphs.ellipsis)
        for value, word in self._options[window.start : window.stop]:
            if value == self.value:
                yield value, Content.styled(in_brackets(word, self._glyphs), "bold $text-primary")
            else:
                yield value, Content(f" {word} ")
        if window.stop < len(self._options):
            yield self._options[window.stop][0], Content(self._glyphs.ellipsis)

    def _window(self) -> range:
        """The positions of the options that fit: the first ones, or those that end with the picked one."""
        sizes = [cell_len(word) + 2 for _, word in self._options]
        values = [value for value, _ in self._options]
        picked = values.index(self.value) if self.value in values else 0

        def fits(window: range) -> bool:
            ellipses = (window.start > 0) + (window.stop < len(sizes))
            needed = sum(sizes[window.start : window.stop]) + ellipses * cell_len(self._glyphs.ellipsis)
            return needed <= self.content_size.width

        windows = (range(start, stop) for start in range(picked + 1) for stop in range(len(sizes), picked, -1))
        return next(filter(fits, windows), range(picked, picked + 1))

    def _pick(self, value: Any) -> None:  # noqa: ANN401
        if value != self.value and not self.disabled:
            self.value = value
            self.post_message(self.Picked(self, value))
