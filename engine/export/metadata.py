"""What an export tells about itself, inside its file and beside it as JSON."""

from __future__ import annotations

import msgspec

from engine.errors import InputError, first_line
from engine.files.escapes import printable
from engine.models.architecture import Preprocessing

KEY = "tltui"
"""Under which the files hold it."""
_LARGEST_SIDE = 4096  # pixels; beyond it nobody trained


class About(msgspec.Struct, frozen=True):
    """``hidden``: sizes of the head's hidden layers; ``preprocessing``: of the square of ``channels`` from the middle
    (``crop``) of an image; ``created``: UTC, ISO 8601; ``versions``: of what wrote it."""

    run: str
    model: str
    classes: list[str]
    hidden: list[int]
    preprocessing: Preprocessing
    created: str
    versions: dict[str, str]
    crop: str = "centre"
    channels: str = "RGB"

    def __post_init__(self) -> None:
        """Raises ValueError for what no export of ours says: it comes from files that others may have written."""
        how = self.preprocessing
        if len(self.classes) < 2:
            raise ValueError("fewer than two classes")
        if not 1 <= how.image_size <= how.resize_size <= _LARGEST_SIDE:
            raise ValueError("sizes of images that can't be")
        if how.interpolation not in ("bilinear", "bicubic") or 0 in how.std:
            raise ValueError("preprocessing that can't be")


def encode(about: About) -> str:
    """As JSON."""
    return msgspec.json.encode(about).decode()


def decode(text: str | bytes | None, path: object) -> About:
    """What the file at ``path`` says of itself, its names printable. Raises InputError where it says nothing."""
    if text is None:
        raise InputError(
            f"{path}: holds no preprocessing and no classes, so it is no export; `tltui export` makes one of a run"
        )
    try:
        about = msgspec.json.decode(text, type=About)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: what it says of itself can't be used ({first_line(error)}); export it anew"
        ) from None
    return msgspec.structs.replace(about, classes=[printable(name) for name in about.classes])
