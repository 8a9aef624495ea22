"""An image in the terminal: as Kitty or Sixel graphics where the terminal is known for them, else as half blocks."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Literal

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

Kind = Literal["kitty", "sixel", "blocks"]
_BLOCK = (1, 2)  # pixels of a cell that half blocks show


def kind_of(environment: Mapping[str, str]) -> Kind:
    """What a terminal shows, as far as its name tells. Asking it would cost a round trip before the first paint.

    A multiplexer in between lets no graphics through unless it is told to.
    """
    name, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or "STY" in environment or name.startswith(("tmux", "screen")):
        return "blocks"
    if name in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if name.startswith(("foot", "mlterm", "contour")) or program in ("WezTerm", "iTerm.app"):
        return "sixel"
    return "blocks"


class ImageView(Container):
    """Shows one image as large as there is room, or a sentence instead."""

    DEFAULT_CSS = """
    ImageView { align: center middle; }
    ImageView > Static { width: auto; height: auto; color: $text-muted; }
    ImageView > .image { width: auto; height: auto; }
    """

    def __init__(self, kind: Kind | None) -> None:
        """``kind``: None for what the terminal's name tells."""
        super().__init__()
        self._kind: Kind = kind or kind_of(os.environ)

    def compose(self) -> ComposeResult:
        yield Static()

    @property
    def pixels(self) -> tuple[int, int]:
        """The width and height that there is room for: more would only make the line busy."""
        across, down = _BLOCK if self._kind == "blocks" else _cell_pixels()
        return max(1, self.content_size.width * across), max(1, self.content_size.height * down)

    def say(self, sentence: str) -> None:
        """Show a sentence in place of an image."""
        self.query(".image").remove()
        self.query_one(Static).update(Content(sentence))

    def show(self, png: bytes) -> None:
        """Show an image in place of what is there."""
        from PIL import Image

        widget = _widgets()[self._kind](Image.open(io.BytesIO(png)), classes="image")
        self.query(".image").remove()
        self.query_one(Static).update("")
        self.mount(widget)


@cache
def _widgets() -> dict[Kind, Any]:
    """textual-image asks the terminal things when it is imported, whose answers a running app would take for keys; so
    it is not let near the terminal, and told what it wants to know."""
    real = sys.__stdout__
    sys.__stdout__ = io.StringIO()  # type: ignore[assignment]
    try:
        from textual_image import _terminal
        from textual_image.widget import HalfcellImage, TGPImage
        from textual_image.widget.sixel import Image as SixelImage
    finally:
        sys.__stdout__ = real  # type: ignore[misc]
    _terminal.get_cell_size._result = _terminal.CellSize(*_cell_pixels())  # type: ignore[attr-defined]
    return {"kitty": TGPImage, "sixel": SixelImage, "blocks": HalfcellImage}


def _cell_pixels() -> tuple[int, int]:
    """What the system knows of a cell's size, or the usual."""
    with suppress(OSError, AttributeError, ValueError):
        size = fcntl.ioctl(sys.__stdout__.fileno(), termios.TIOCGWINSZ, b"\0" * 8)  # type: ignore[union-attr]
        rows, columns, width, height = struct.unpack("HHHH", size)
        if width and height and rows and columns:
            return width // columns, height // rows
    return 10, 20
