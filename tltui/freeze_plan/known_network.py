"""A network's layer tree for commands: cached, or described by the engine now."""

from __future__ import annotations

from engine.config.layer_tree import LayerTree
from engine.config.schema import HeadConfig
from engine.models import layer_tree_cache


def layer_tree(model: str, classes: int, image_size: int, head: HeadConfig, channels: int = 3) -> LayerTree:
    """The layer tree of a network; imports torch only where the tree is not cached. Raises InputError."""
    tree = layer_tree_cache.load(model, classes, image_size, head, channels)
    if tree is None:
        from engine.system.devices import check_libraries

        check_libraries()
        from engine.models.layer_tree import describe

        tree = describe(model, classes, image_size, head, channels)
    return tree
