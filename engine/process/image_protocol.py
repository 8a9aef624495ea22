"""Requests and replies of ``engine.process.image_server``. Imports neither torch nor Pillow, for the interface."""

from __future__ import annotations

import msgspec


class ImageRequest(msgspec.Struct):
    """An image by its path in predictions.csv, at most ``width`` × ``height`` pixels large.

    With the class ``label``, the reply is the network's crop of the image with a Grad-CAM heat map of that class in
    ``layer``; "" is the last layer with spatial features.
    """

    id: int
    image: str
    width: int
    height: int
    label: str | None = None
    layer: str = ""


class ImageReply(msgspec.Struct):
    """A PNG in base64, or the reason why there is none, in a sentence."""

    id: int
    png: str = ""
    error: str = ""
