"""Questions and answers of ``engine.process.image_server``. Imports neither torch nor Pillow: the app asks."""

from __future__ import annotations

import msgspec


class Ask(msgspec.Struct):
    """``image``: as predictions.csv calls it; at most ``width`` × ``height`` pixels. With ``label``, a class, what
    speaks for it in ``layer`` ("": the last one that has places) is laid over the part that the network sees."""

    id: int
    image: str
    width: int
    height: int
    label: str | None = None
    layer: str = ""


class Look(msgspec.Struct):
    """A PNG in base64, or in ``error`` why there is none, in a sentence."""

    id: int
    png: str = ""
    error: str = ""
