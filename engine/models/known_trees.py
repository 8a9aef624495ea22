"""Layer trees that were described before: describing one takes seconds and the libraries, reading it neither.

Imports no torch.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.cache.folder import TREES, cache_root, private_folder
from engine.config import HeadConfig
from engine.environment import installed_version
from engine.rundir import write_atomically

_VERSION = 1  # of what a tree holds


def look(name: str, classes: int, image_size: int, head: HeadConfig) -> dict[str, Any] | None:
    """The content of model.json for a network, if these libraries described it before."""
    try:
        return msgspec.json.decode(_path(name, classes, image_size, head).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def remember(tree: dict[str, Any], name: str, classes: int, image_size: int, head: HeadConfig) -> None:
    """Keep a tree for next time; not being able to is no error."""
    with suppress(OSError):
        private_folder(cache_root(), TREES)
        write_atomically(_path(name, classes, image_size, head), msgspec.json.encode(tree))


def _path(name: str, classes: int, image_size: int, head: HeadConfig) -> Path:
    versions = [installed_version(library) for library in ("torch", "torchvision", "timm")]
    identity = f"{_VERSION} {versions} {name} {classes} {image_size} {head.hidden}"
    return cache_root() / TREES / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
