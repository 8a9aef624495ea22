"""The shortest freeze rules for a choice of layers. Imports no torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from functools import cache

from engine.config.freeze_rules import HEAD, NORMS
from tltui.freeze_plan.layer_index import LayerIndex


def write_rules(network: LayerIndex, trained: int) -> list[str]:
    """Few rules that train exactly the leaves ``trained``, outer layers before what they hold.

    A plan that freezes everything and then lists trainable layers reads best. It is preferred even where exceptions
    to a trainable network are one rule shorter.
    """
    if trained == network.all_leaves:
        return ["train *"]
    opened = _exceptions(network, trained, start=False)
    frozen = _exceptions(network, trained, start=True)
    reads_best = all(rule.startswith("train ") for rule in opened)
    return ["freeze *", *opened] if len(opened) < len(frozen) + reads_best else frozen


def extend_rules(
    network: LayerIndex, rules: list[str], trained: int, wanted: int, trains: Callable[[list[str]], int]
) -> list[str]:
    """``rules``, which train the leaves ``trained``, changed as little as possible so that they train ``wanted``.

    Rules that become redundant are dropped, the oldest first. ``trains`` gives the leaves that rules train.
    """
    kept = [*rules, *_changes(network, trained ^ wanted, wanted, "")]
    for rule in list(kept):
        without = kept.copy()
        without.remove(rule)
        if trains(without) == wanted:
            kept = without
    return kept


def _exceptions(network: LayerIndex, trained: int, start: bool) -> list[str]:
    """The fewest rules for ``trained`` after one that trains everything (``start``) or freezes it.

    Of equally short lists the one with a rule for ``head`` is preferred.
    """
    plain = _cover(network, trained, network.all_leaves, start)
    head = trained & network.head_leaves
    if head not in (0, network.head_leaves):
        return plain
    backbone = network.all_leaves & ~network.head_leaves
    with_head = [*_cover(network, trained, backbone, start), f"{_verb(head)} {HEAD}"]
    return plain if len(plain) < len(with_head) else with_head


def _cover(network: LayerIndex, trained: int, cared: int, start: bool) -> list[str]:
    """The fewest rules that train ``trained`` among the leaves ``cared``; other leaves do not matter."""

    @cache
    def write(path: str, inherited: bool) -> list[str]:
        asked = network.below(path) & cared
        uniform = trained & asked in (0, asked)
        pattern = _pattern(network, path)
        if not asked or (uniform and bool(trained & asked) == inherited):
            return []
        if uniform and pattern:
            return [f"{_verb(not inherited)} {pattern}"]
        kept = [rule for child in network.children[path] for rule in write(child, inherited)]
        if not pattern:
            return kept
        turned = [rule for child in network.children[path] for rule in write(child, not inherited)]
        return min(kept, [f"{_verb(not inherited)} {pattern}", *turned], key=len)

    return write("", start)


def _changes(network: LayerIndex, changed: int, wanted: int, path: str) -> list[str]:
    """A rule for each outermost layer with leaves in ``changed`` whose leaves all get the same state."""
    inside = network.below(path)
    if not inside & changed:
        return []
    pattern = _pattern(network, path)
    if wanted & inside in (0, inside) and pattern:
        return [f"{_verb(wanted & inside)} {pattern}"]
    return [rule for child in network.children[path] for rule in _changes(network, changed, wanted, child)]


def _pattern(network: LayerIndex, path: str) -> str | None:
    """The pattern of exactly ``path`` and what it holds; None where there is none.

    Keywords stand for other layers, and only the first rule matches the whole network.
    """
    if not path or path == NORMS or (path == HEAD and network.head != [HEAD]):
        return None
    # Names come from model code: wildcards are escaped; a space would end the pattern, so it becomes "?".
    return re.sub(r"\s", "?", glob.escape(path))


def _verb(trains: int | bool) -> str:
    return "train" if trains else "freeze"
