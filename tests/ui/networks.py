"""Networks for the tests of the app, as the content of model.json."""

import json
from math import prod
from pathlib import Path
from typing import Any

Model = dict[str, Any]
Spec = dict[str, Any]


def resnet18() -> Model:
    """As the engine wrote it for ten classes."""
    return json.loads((Path(__file__).parent / "data" / "resnet18.json").read_text(encoding="utf-8"))


def network(spec: Spec, head: list[str], stages: list[str] | None = None) -> Model:
    """A model.json from nested modules: a dict is a module, a list of numbers the shape of a parameter, and the
    word "statistics" a layer with batch statistics alone."""
    layers: list[dict[str, Any]] = []

    def add(path: str, module: Spec | str) -> int:
        content = module if isinstance(module, dict) else {}
        own = {name: shape for name, shape in content.items() if isinstance(shape, list)}
        modules = {name: below for name, below in content.items() if not isinstance(below, list)}
        statistics = module == "statistics"
        layer = {
            "path": path,
            "type": "BatchNorm2d" if statistics else "Block" if modules else "Conv2d",
            "parameters": own,
            "own": sum(map(prod, own.values())),
            "buffers": {"running_mean": [4]} if statistics else {},
            "output": [1, 8, 4, 4],
            "order": len(layers),
            "batch_statistics": statistics,
        }
        layers.append(layer)
        below = sum(add(f"{path}.{name}" if path else name, child) for name, child in modules.items())
        layer["total"] = layer["own"] + below
        return layer["total"]

    return {
        "name": "small",
        "classes": 10,
        "input": [3, 32, 32],
        "head": head,
        "parameters": add("", spec),
        "stages": [{"name": path, "paths": [path]} for path in stages or []],
        "layers": layers,
    }


def large_network(modules: int) -> Model:
    """A network of about so many modules, in stages of blocks of six layers."""
    block: Spec = {f"conv{i}": {"weight": [64, 64, 3, 3]} for i in range(6)}
    stages = {f"stage{s}": {str(b): block for b in range(modules // 70)} for s in range(10)}
    return network({**stages, "fc": {"weight": [10, 64], "bias": [10]}}, ["fc"], list(stages))
