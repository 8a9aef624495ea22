"""What was found out before and takes long: kept in the cache's folder, by all that it depends on. Imports no torch."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.cache.eviction import cache_root, private_folder
from engine.files.atomic import write_atomically

Kind = TypeVar("Kind")


def look(folder: str, identity: str, kind: type[Kind]) -> Kind | None:
    """What is kept under ``identity`` in one of the cache's folders, if it can be read."""
    try:
        return msgspec.json.decode(_path(folder, identity).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def remember(folder: str, identity: str, found: Any) -> None:  # noqa: ANN401 (whatever JSON can hold)
    """Keep something for next time; not being able to is no error."""
    with suppress(OSError):
        private_folder(cache_root(), folder)
        write_atomically(_path(folder, identity), msgspec.json.encode(found))


def _path(folder: str, identity: str) -> Path:
    return cache_root() / folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
