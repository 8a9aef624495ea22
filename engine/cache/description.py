"""The description of a space for people, in its about.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.files.atomic import write_atomically

ABOUT = "about.json"
_MOST_NAMES = 8  # datasets listed for a space that they share

About = dict[str, list[str]]


def describe(space: Path, about: Mapping[str, object]) -> None:
    """Add to a space's description for people. Raises OSError."""
    known = about_of(space)
    merged = {
        key: list(dict.fromkeys([str(about[key]), *known.get(key, [])] if key in about else known[key]))[:_MOST_NAMES]
        for key in dict.fromkeys([*known, *about])
    }
    if merged != known:
        write_atomically(space / ABOUT, msgspec.json.encode(merged))


def about_of(space: Path) -> About:
    """The description of a space, the latest entries first."""
    try:
        return msgspec.json.decode((space / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
