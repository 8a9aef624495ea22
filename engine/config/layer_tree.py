"""The layer tree of a network, as model.json holds it: typed, and checked when it is read. Imports no torch."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated

import msgspec

from engine.errors import InputError
from engine.files.escapes import printable
from engine.files.safe_open import open_regular

_MAX_BYTES = 2**26
_MAX_LAYERS = 100_000
_MAX_DEPTH = 100

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Shape = Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=2**40)]], msgspec.Meta(max_length=16)]


class Layer(msgspec.Struct):
    """One module of a network; ``path`` is "" for the network itself.

    ``parameters`` and ``buffers`` map the names of the module's own tensors to their shapes; a tensor that several
    modules share stands with the first. ``own`` and ``total`` count scalars, in the module and with all below it.
    ``output`` is the shape for a batch of one and ``order`` the position of the first forward call; both are None
    for a module that does not run in evaluation. ``batch_statistics``: it keeps running statistics.
    """

    path: str
    type: str
    parameters: dict[str, _Shape]
    own: _Count
    total: _Count
    buffers: dict[str, _Shape]
    output: _Shape | None
    order: _Count | None
    batch_statistics: bool

    @property
    def parameter_sizes(self) -> dict[str, int]:
        """Number of scalars of each of its own parameters, by full name."""
        return {join(self.path, name): prod(shape) for name, shape in self.parameters.items()}


class Stage(msgspec.Struct):
    """A part of the backbone and the paths that it holds."""

    name: str
    paths: list[str]


class LayerTree(msgspec.Struct):
    """A network's modules in the order of their definition, parents before children.

    ``input`` is the shape of one image; ``head`` lists the paths of the new classifier; ``stages`` go from the
    input to the head.
    """

    name: str
    classes: _Count
    input: _Shape
    head: list[str]
    parameters: _Count
    stages: list[Stage]
    layers: list[Layer]

    @property
    def parameter_sizes(self) -> dict[str, int]:
        """Number of scalars of every parameter, by name."""
        return {name: size for layer in self.layers for name, size in layer.parameter_sizes.items()}


def join(path: str, name: str) -> str:
    """The full name of what a module holds under ``name``."""
    return f"{path}.{name}" if path else name


def read_layer_tree(path: Path) -> LayerTree:
    """The layer tree in a model.json. Raises FileNotFoundError, and InputError for a file that holds none."""
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{printable(str(path))}: can't be read ({error.strerror}); check its permissions") from None
    try:
        return decode_layer_tree(content)
    except ValueError as error:
        raise InputError(
            f"{printable(str(path))}: holds no layer tree ({error}); remove it: resuming the run writes it again"
        ) from None


def decode_layer_tree(content: bytes) -> LayerTree:
    """The layer tree in the bytes of a model.json. Raises ValueError with the reason where it can't be used."""
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES // 2**20} MiB")
    try:
        tree = msgspec.json.decode(content, type=LayerTree)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(printable(str(error))) from None
    _check(tree)
    return tree


def _check(tree: LayerTree) -> None:
    """Raises ValueError for a tree whose names don't fit together, because rules and rows are looked up by name."""
    if not 0 < len(tree.layers) <= _MAX_LAYERS:
        raise ValueError(f"it lists {len(tree.layers)} layers")
    known: set[str] = set()
    for layer in tree.layers:
        path = layer.path
        is_root = path == "" and not known
        parent = path.rpartition(".")[0]
        if not is_root and (path in known or parent not in known or path.count(".") >= _MAX_DEPTH):
            raise ValueError(f'the layer "{printable(path[:80])}" does not follow the layer that holds it')
        known.add(path)
    for name in (join(layer.path, name) for layer in tree.layers for name in layer.parameters):
        if name in known or name.rpartition(".")[0] not in known:
            raise ValueError(f'the parameter "{printable(name[:80])}" belongs to no layer')
        known.add(name)
    paths = {layer.path for layer in tree.layers}
    for path in (*tree.head, *(path for stage in tree.stages for path in stage.paths)):
        if path not in paths:
            raise ValueError(f'the head or a stage names "{printable(path[:80])}", which is no layer')
