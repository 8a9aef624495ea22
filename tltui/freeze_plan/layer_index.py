"""An index of a layer tree: its rows, and the leaves that a freeze plan decides about. Imports no torch.

A *leaf* is a unit of freezing: a parameter, or a layer that holds batch statistics and nothing else. Leaves are
numbered in the order of definition, which keeps those of one layer together; a set of leaves is an ``int`` whose
bit *i* stands for leaf *i*, because plans are compared and combined on every key press.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from engine.config.freeze_rules import freeze_targets
from engine.config.layer_tree import Layer, LayerTree, join

_SEQUENCES = ("Sequential", "ModuleList")


@dataclass(slots=True)
class LayerRow:
    """A row of the layer tree: a layer, or a parameter of a layer that has child layers too.

    ``kind`` is the type, or like "3 × Bottleneck" for a uniform sequence; ``shape`` is that of the output for one
    image (of a parameter: its own), empty where it is unknown.
    """

    path: str
    name: str
    parent: str | None
    depth: int
    kind: str
    shape: tuple[int, ...]
    parameters: int
    in_head: bool
    children: list[str] = field(default_factory=list)

    @property
    def shape_text(self) -> str:
        """Like ``64×112×112``; empty where the shape is unknown."""
        return "×".join(map(str, self.shape))


class LayerIndex:
    """A layer tree, indexed for editing and showing a freeze plan."""

    def __init__(self, tree: LayerTree) -> None:
        layers = tree.layers
        self.name = tree.name
        self.head = tree.head
        self.stages = [stage.paths for stage in tree.stages]
        self.modules = [layer.path for layer in layers]
        self.parameters = tree.parameter_sizes
        self.buffer_values = sum(prod(shape) for layer in layers for shape in layer.buffers.values())
        self.children = _children(layers)
        self.leaves: list[str] = [leaf for layer in layers for leaf in freeze_targets(layer)]
        self._below = self._leaves_below()
        self._orders = _orders(layers)
        self.all_leaves = self.below("")
        self.parameter_leaves = self.among(self.parameters)
        self.head_leaves = self.together(self.head)
        self.rows = self._rows(layers)

    def below(self, path: str) -> int:
        """The leaves that a layer or parameter holds; "" is the whole network."""
        return self._below[path]

    def together(self, paths: Iterable[str]) -> int:
        """The leaves that any of the layers holds."""
        leaves = 0
        for path in paths:
            leaves |= self._below[path]
        return leaves

    def among(self, names: Iterable[str]) -> int:
        """The leaves named in ``names``."""
        chosen = set(names)
        return sum(1 << i for i, leaf in enumerate(self.leaves) if leaf in chosen)

    def before(self, path: str) -> int:
        """The leaves of layers that run before ``path``, without those of the head."""
        order = self._order(path)
        return self.among(leaf for leaf in self.leaves if self._order(leaf) < order) & ~self.head_leaves

    def values(self, leaves: int) -> int:
        """The number of scalars in a set of leaves."""
        return sum(self.parameters.get(leaf, 0) for i, leaf in enumerate(self.leaves) if leaves >> i & 1)

    def find(self, query: str) -> list[str]:
        """The rows that have each word of ``query`` in their name, type or shape, from top to bottom.

        A word with dots is looked for in the path and has to reach into the row's own name.
        """
        words = _plain(query).split()
        return [path for path, row in self.rows.items() if words and all(_mentions(row, word) for word in words)]

    def _order(self, name: str) -> int:
        return self._orders[name.rpartition(".")[0] if name in self.parameters else name]

    def _leaves_below(self) -> dict[str, int]:
        below = dict.fromkeys(self.modules, 0)
        for i, leaf in enumerate(self.leaves):
            below[leaf] = 1 << i
        for path in reversed(self.modules):
            for child in self.children[path]:
                below[path] |= below[child]
        return below

    def _rows(self, layers: list[Layer]) -> dict[str, LayerRow]:
        rows: dict[str, LayerRow] = {}
        types = {layer.path: layer.type for layer in layers}

        def add(path: str, kind: str, shape: list[int], parameters: int) -> None:
            parent, _, name = path.rpartition(".")
            in_head = any(path == head or path.startswith(f"{head}.") for head in self.head)
            if not path:
                rows[path] = LayerRow("", self.name, None, 0, kind, tuple(shape), parameters, in_head)
                return
            depth = rows[parent].depth + 1
            rows[path] = LayerRow(path, name, parent, depth, kind, tuple(shape), parameters, in_head)
            rows[parent].children.append(path)

        for layer in layers:
            path, own = layer.path, layer.parameters
            kind = _kind(layer.type, [types[child] for child in self.children[path] if child in types])
            add(path, kind, (layer.output or [0])[1:], layer.total)
            if own and self.below(path).bit_count() > len(own):
                for name, shape in own.items():
                    add(join(path, name), "Parameter", shape, prod(shape))
        return rows


def _children(layers: list[Layer]) -> dict[str, list[str]]:
    """The children of each module: its own parameters, then its modules."""
    children: dict[str, list[str]] = {}
    for layer in layers:
        path = layer.path
        children[path] = list(layer.parameter_sizes)
        if path:
            children[path.rpartition(".")[0]].append(path)
    return children


def _orders(layers: list[Layer]) -> dict[str, int]:
    """The execution order of the modules.

    One that is not called itself counts as the one defined before it: attention takes its projection's weight
    without running the projection, and auxiliary classifiers run in training alone.
    """
    orders: dict[str, int] = {}
    last = 0
    for layer in layers:
        last = last if layer.order is None else layer.order
        orders[layer.path] = last
    return orders


def _kind(type_name: str, children: list[str]) -> str:
    kinds = set(children)
    if type_name in _SEQUENCES and len(kinds) == 1 and not kinds & set(_SEQUENCES):
        return f"{len(children)} × {kinds.pop()}"
    return type_name


def _plain(text: str) -> str:
    return text.lower().replace("×", "x")


def _mentions(row: LayerRow, word: str) -> bool:
    path = (row.path or row.name).lower()
    in_name = word in path and path.rfind(word) + len(word) > len(path) - len(row.name)
    return in_name or word in _plain(row.kind) or word in _plain(row.shape_text)
