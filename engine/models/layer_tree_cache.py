"""Cache of layer trees: building one takes seconds and torch, reading it neither. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.cache import memo
from engine.cache.folder import TREES
from engine.config.layer_tree import LayerTree
from engine.config.model_names import FOLDER
from engine.config.schema import HeadConfig
from engine.system.devices import installed_version

_VERSION = 1  # raise it when the content of a tree changes


def load(name: str, classes: int, image_size: int, head: HeadConfig, channels: int) -> LayerTree | None:
    """The layer tree of a network, if these library versions described it before."""
    return memo.load(TREES, _identity(name, classes, image_size, head, channels), LayerTree)


def store(tree: LayerTree, name: str, classes: int, image_size: int, head: HeadConfig, channels: int) -> None:
    """Store a tree."""
    memo.store(TREES, _identity(name, classes, image_size, head, channels), tree)


def _identity(name: str, classes: int, image_size: int, head: HeadConfig, channels: int) -> str:
    versions = [installed_version(library) for library in ("torch", "torchvision", "timm")]
    return f"{_VERSION} {versions} {name}{_config_digest(name)} {classes} {image_size} {head.hidden} {channels}"


def _config_digest(name: str) -> str:
    """The digest of the config.json in a network's folder, which its owner may change; "" for other networks."""
    if not name.startswith(FOLDER):
        return ""
    try:
        return f" {hashlib.sha256((Path(name.removeprefix(FOLDER)) / 'config.json').read_bytes()).hexdigest()}"
    except OSError:
        return ""
