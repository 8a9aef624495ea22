"""Layer trees that were described before: describing one takes seconds and the libraries, reading it neither.

Imports no torch.
"""

from __future__ import annotations

from typing import Any

from engine.cache import memo
from engine.cache.eviction import TREES
from engine.config.schema import HeadConfig
from engine.system.devices import installed_version

_VERSION = 1  # of what a tree holds


def look(name: str, classes: int, image_size: int, head: HeadConfig) -> dict[str, Any] | None:
    """The content of model.json for a network, if these libraries described it before."""
    return memo.look(TREES, _identity(name, classes, image_size, head), dict[str, Any])


def remember(tree: dict[str, Any], name: str, classes: int, image_size: int, head: HeadConfig) -> None:
    """Keep a tree for next time."""
    memo.remember(TREES, _identity(name, classes, image_size, head), tree)


def _identity(name: str, classes: int, image_size: int, head: HeadConfig) -> str:
    versions = [installed_version(library) for library in ("torch", "torchvision", "timm")]
    return f"{_VERSION} {versions} {name} {classes} {image_size} {head.hidden}"
