"""Refuses batches of one image where batch norms can't train on them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from engine.config.freeze_rules import decide, module_facts, training_modes
from engine.config.layer_tree import LayerTree
from engine.config.schema import RunConfig
from engine.errors import InputError


def check_single_images(config: RunConfig, tree: LayerTree) -> None:
    """Raise InputError where a step on one image has no variance: a trainable batch norm of maps of 1 × 1 pixel.

    It checks the freeze plans of the run and of its phases. On larger maps, one image does have statistics.
    """
    if config.train.batch_size > 1:
        return
    for rules in (config.freeze.rules, *(phase.rules for phase in config.recipe.phases)):
        if norms := _single_value_norms(tree, rules, config.freeze.norm_stats):
            others = f" and {len(norms) - 1} more" if len(norms) > 1 else ""
            raise InputError(
                f"train.batch_size = 1: the batch norm {norms[0]}{others} would compute a variance from one value; set "
                'train.batch_size to 2 or more, or freeze.norm_stats = "frozen"'
            )


def _single_value_norms(tree: LayerTree, rules: Sequence[str], norm_stats: str) -> list[str]:
    """The paths of trainable batch norms that see one value per channel of an image (1, C, H, W)."""
    modes = training_modes(module_facts(tree), decide(rules, tree), norm_stats)
    return [
        layer.path
        for layer in tree.layers
        if layer.batch_statistics and modes[layer.path] and layer.output and prod(layer.output[2:]) == 1
    ]
