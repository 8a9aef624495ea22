"""An image in the terminal: Kitty or Sixel graphics where the terminal has them, else half blocks."""

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
    """Graphics of a terminal, by its name. A query would cost a round trip before the first paint.

    Multiplexers pass no graphics through by default.
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
    """Shows one image as large as there is room, or a sentence."""

    DEFAULT_CSS = """
    ImageView { align: center middle; }
    ImageView > Static { width: auto; height: auto; color: $text-muted; }
    ImageView > .image { width: auto; height: auto; }
    """

    def __init__(self, kind: Kind | None) -> None:
        """``kind``: None to choose by the terminal's name."""
        super().__init__()
        self._kind: Kind = kind or kind_of(os.environ)

    def compose(self) -> ComposeResult:
        yield Static()

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the widget in pixels; a larger image would cost traffic only."""
        across, down = _BLOCK if self._kind == "blocks" else _cell_pixels()
        return max(1, self.content_size.width * across), max(1, self.content_size.height * down)

    def say(self, sentence: str) -> None:
        """Show a sentence in place of the image."""
        self.query(".image").remove()
        self.query_one(Static).update(Content(sentence))

    def show(self, png: bytes) -> None:
        """Show an image, as PNG bytes."""
        from PIL import Image

        widget = _widgets()[self._kind](Image.open(io.BytesIO(png)), classes="image")
        self.query(".image").remove()
        self.query_one(Static).update("")
        self.mount(widget)


@cache
def _widgets() -> dict[Kind, Any]:
    """Import textual-image without its queries to the terminal: a running app would read the answers as keys."""
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
    """Size of a cell in pixels from the system, or the usual one."""
    with suppress(OSError, AttributeError, ValueError):
        size = fcntl.ioctl(sys.__stdout__.fileno(), termios.TIOCGWINSZ, b"\0" * 8)  # type: ignore[union-attr]
        rows, columns, width, height = struct.unpack("HHHH", size)
        if width and height and rows and columns:
            return width // columns, height // rows
    return 10, 20
