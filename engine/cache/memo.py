"""Caches slow results as JSON, keyed by all their dependencies. Imports no torch."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.cache.folder import cache_root, private_folder
from engine.files.atomic import write_atomically

Kind = TypeVar("Kind")


def load(folder: str, identity: str, kind: type[Kind]) -> Kind | None:
    """The result under ``identity`` in a folder of the cache; None if there is none that can be read."""
    try:
        return msgspec.json.decode(_path(folder, identity).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def store(folder: str, identity: str, found: Any) -> None:  # noqa: ANN401 (whatever JSON can hold)
    """Store a result. A failure is ignored."""
    with suppress(OSError):
        private_folder(cache_root(), folder)
        write_atomically(_path(folder, identity), msgspec.json.encode(found))


def _path(folder: str, identity: str) -> Path:
    return cache_root() / folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
