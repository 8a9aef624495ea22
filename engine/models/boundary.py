"""The boundary of a frozen prefix: which of its outputs are cached for each image. Imports no torch.

The engine cuts a traced network here, and the cost estimate predicts the cut from a profile. Both call the same
function, so that a plan costs what was estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

_CANNOT_STORE = 2**60  # the size of a container: larger than any tensor


@dataclass(frozen=True)
class Node:
    """One operation of a network, in the order of execution.

    ``inputs``: positions of the operations whose outputs it reads.
    ``output_size``: scalars per image of its output; 0 where the output does not depend on the images, None for a
    container of several tensors, which can't be cached.
    ``repeatable``: running it again in every epoch is cheap and safe.
    ``view``: its output shares the memory of its inputs.
    ``returned``: the network returns its output.
    """

    inputs: Sequence[int]
    output_size: int | None
    repeatable: bool
    view: bool
    returned: bool


def choose_boundary(nodes: Sequence[Node], frozen: AbstractSet[int]) -> tuple[set[int], list[int]]:
    """The operations of the frozen prefix, and those of them whose outputs are cached, by position.

    ``frozen`` holds the operations that give the same output for an image in every epoch. The prefix leaves out
    operations at its end that only enlarge the cached tensors or reshape them: the suffix repeats them.

    Example: the images (150,528 scalars) go through a convolution (25,088), a flatten and a trainable layer. The
    flatten is a view, so that the prefix ends with the convolution.
    """
    users = _users(nodes)
    prefix = set(frozen)
    stored = _stored(nodes, users, prefix)
    for position in reversed(range(len(nodes))):
        if position not in stored:
            continue
        repeated = _repeated_with(nodes, position)
        if repeated is None:
            continue
        shorter = prefix - repeated
        instead = _stored(nodes, users, shorter)
        growth = _size(nodes, instead) - _size(nodes, stored)
        if growth < 0 or (growth == 0 and all(nodes[at].view for at in repeated)):
            prefix, stored = shorter, instead
    return prefix, sorted(stored)


def _users(nodes: Sequence[Node]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in nodes]
    for position, node in enumerate(nodes):
        for source in node.inputs:
            users[source].append(position)
    return users


def _stored(nodes: Sequence[Node], users: Sequence[Sequence[int]], prefix: set[int]) -> set[int]:
    """The operations of ``prefix`` whose outputs depend on the images and are needed after it."""
    return {
        position
        for position in prefix
        if nodes[position].output_size != 0 and (nodes[position].returned or not prefix.issuperset(users[position]))
    }


def _repeated_with(nodes: Sequence[Node], position: int) -> set[int] | None:
    """The operations that run again if the one at ``position`` does: itself and the containers that it reads from.

    None where one of them is expensive or unsafe to repeat, or is the input of the network.
    """
    repeated: set[int] = set()
    waiting = [position]
    while waiting:
        at = waiting.pop()
        if not nodes[at].repeatable or not nodes[at].inputs:
            return None
        repeated.add(at)
        waiting += [source for source in nodes[at].inputs if nodes[source].output_size is None]
    return repeated


def _size(nodes: Sequence[Node], positions: AbstractSet[int]) -> int:
    sizes = [nodes[position].output_size for position in positions]
    return sum(_CANNOT_STORE if size is None else size for size in sizes)
