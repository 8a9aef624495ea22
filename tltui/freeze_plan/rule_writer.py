"""The shortest freeze rules for a choice of layers. Imports no torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from functools import cache

from engine.config.freeze_rules import HEAD
from tltui.freeze_plan.layer_index import LayerIndex


def write_rules(network: LayerIndex, trained: int) -> list[str]:
    """Few rules that train exactly the leaves ``trained``, outer layers before what they hold.

    A plan that freezes everything and then says what trains reads best: it is taken even where exceptions to a
    training network would be one rule shorter.
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

    What the change makes superfluous is dropped, the oldest first. ``trains`` says which leaves rules train.
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

    Of equally short lists the one that speaks of ``head`` is taken.
    """
    plain = _cover(network, trained, network.all_leaves, start)
    head = trained & network.head_leaves
    if head not in (0, network.head_leaves):
        return plain
    backbone = network.all_leaves & ~network.head_leaves
    with_head = [*_cover(network, trained, backbone, start), f"{_verb(head)} {HEAD}"]
    return plain if len(plain) < len(with_head) else with_head


def _cover(network: LayerIndex, trained: int, cared: int, start: bool) -> list[str]:
    """The fewest rules by which, of the leaves ``cared``, those in ``trained`` train; others may do as they like."""

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
    """A rule for each outermost layer that has leaves in ``changed`` and wants the same of all its leaves."""
    inside = network.below(path)
    if not inside & changed:
        return []
    pattern = _pattern(network, path)
    if wanted & inside in (0, inside) and pattern:
        return [f"{_verb(wanted & inside)} {pattern}"]
    return [rule for child in network.children[path] for rule in _changes(network, changed, wanted, child)]


def _pattern(network: LayerIndex, path: str) -> str | None:
    """How a rule names exactly ``path`` and what is below; None where it can't.

    ``head`` is a word of its own, and the whole network is spoken of by the first rule alone.
    """
    if not path or (path == HEAD and network.head != [HEAD]):
        return None
    # Names come from model code: what the pattern language takes for a sign is written as a character, and a space,
    # which would end the pattern, as any character.
    return re.sub(r"\s", "?", glob.escape(path))


def _verb(trains: int | bool) -> str:
    return "train" if trains else "freeze"
