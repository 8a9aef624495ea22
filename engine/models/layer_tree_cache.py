"""Caches layer trees, since building one takes seconds and imports torch. Imports no torch itself."""

from __future__ import annotations

from typing import Any

from engine.cache import memo
from engine.cache.eviction import TREES
from engine.config.schema import HeadConfig
from engine.system.devices import installed_version

_VERSION = 1  # raise it when the content of a tree changes


def look(name: str, classes: int, image_size: int, head: HeadConfig) -> dict[str, Any] | None:
    """The cached layer tree of a network for the installed versions of the libraries, or None."""
    return memo.look(TREES, _identity(name, classes, image_size, head), dict[str, Any])


def remember(tree: dict[str, Any], name: str, classes: int, image_size: int, head: HeadConfig) -> None:
    """Cache a tree."""
    memo.remember(TREES, _identity(name, classes, image_size, head), tree)


def _identity(name: str, classes: int, image_size: int, head: HeadConfig) -> str:
    versions = [installed_version(library) for library in ("torch", "torchvision", "timm")]
    return f"{_VERSION} {versions} {name} {classes} {image_size} {head.hidden}"
