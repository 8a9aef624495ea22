"""The cross-validation that a run is a fold of, in the run's group.json. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from engine.files.safe_open import open_regular

_LARGEST_FILE = 2**12  # bytes of a group.json that are read


class RunGroup(msgspec.Struct, frozen=True):
    """The run is fold ``fold`` of ``folds``, counted from 1, of the cross-validation ``name``."""

    name: str
    fold: int
    folds: int
    kind: Literal["folds"] = "folds"


def read_group(path: Path) -> RunGroup | None:
    """The group that a group.json names; None where there is none, or one of another version."""
    try:
        with open_regular(path, follow=False) as file:
            return msgspec.json.decode(file.read(_LARGEST_FILE), type=RunGroup)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
