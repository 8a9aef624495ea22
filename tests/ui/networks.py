"""Networks for the tests of the app, as layer trees."""

from math import prod
from pathlib import Path
from typing import Any

import msgspec

from engine.config.layer_tree import Layer, LayerTree, Stage, read_layer_tree

Spec = dict[str, Any]


def resnet18() -> LayerTree:
    """As the engine wrote it for ten classes."""
    return read_layer_tree(Path(__file__).parent / "data" / "resnet18.json")


def as_json(tree: LayerTree) -> bytes:
    """The content of model.json."""
    return msgspec.json.encode(tree)


def network(spec: Spec, head: list[str], stages: list[str] | None = None) -> LayerTree:
    """A layer tree from nested modules: a dict is a module, a list of numbers the shape of a parameter, and the
    word "statistics" a layer with batch statistics alone."""
    layers: list[Layer] = []

    def add(path: str, module: Spec | str) -> int:
        content = module if isinstance(module, dict) else {}
        own = {name: shape for name, shape in content.items() if isinstance(shape, list)}
        modules = {name: below for name, below in content.items() if not isinstance(below, list)}
        statistics = module == "statistics"
        layer = Layer(
            path=path,
            type="BatchNorm2d" if statistics else "Block" if modules else "Conv2d",
            parameters=own,
            own=sum(map(prod, own.values())),
            total=0,
            buffers={"running_mean": [4]} if statistics else {},
            output=[1, 8, 4, 4],
            order=len(layers),
            batch_statistics=statistics,
        )
        layers.append(layer)
        below = sum(add(f"{path}.{name}" if path else name, child) for name, child in modules.items())
        layer.total = layer.own + below
        return layer.total

    parameters = add("", spec)
    parts = [Stage(path, [path]) for path in stages or []]
    return LayerTree("small", 10, [3, 32, 32], head, parameters, parts, layers)


def large_network(modules: int) -> LayerTree:
    """A network of about so many modules, in stages of blocks of six layers."""
    block: Spec = {f"conv{i}": {"weight": [64, 64, 3, 3]} for i in range(6)}
    stages = {f"stage{s}": {str(b): block for b in range(modules // 70)} for s in range(10)}
    return network({**stages, "fc": {"weight": [10, 64], "bias": [10]}}, ["fc"], list(stages))
