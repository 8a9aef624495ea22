"""Builds the layer tree of a network, the content of model.json."""

from __future__ import annotations

import torch
from torch import nn

from engine.config.freeze_rules import is_norm
from engine.config.layer_tree import Layer, LayerTree, Stage
from engine.config.schema import HeadConfig
from engine.models import layer_tree_cache, registry
from engine.models.registry import Classifier

# Stages are found inside a module that holds nearly all parameters, and inside the largest one while they are fewer
# than four.
_CONTAINER_SHARE = 0.9
_FEWEST_STAGES = 4


def describe(name: str, classes: int, image_size: int, head: HeadConfig, channels: int = 3) -> LayerTree:
    """The layer tree of a network by name, without its weights. Raises InputError for what can't be built."""
    tree = layer_tree_cache.load(name, classes, image_size, head, channels)
    if tree is None:
        classifier = registry.build(name, classes, head, image_size, channels, on_meta=True)
        registry.check_image_size(classifier)
        tree = layer_tree(classifier, classes)
        layer_tree_cache.store(tree, name, classes, image_size, head, channels)
    return tree


def layer_tree(classifier: Classifier, classes: int) -> LayerTree:
    """The layer tree of a network on the meta device."""
    module = classifier.module
    image = list(classifier.preprocessing.input_shape)
    runs = _run_once(module, image)
    seen: set[int] = set()
    layers = []
    for path, layer in module.named_modules():
        own = {name: p for name, p in layer.named_parameters(recurse=False) if id(p) not in seen}
        seen.update(id(p) for p in own.values())
        order, output = runs.get(path, (None, None))
        layers.append(
            Layer(
                path=path,
                type=_type_name(layer),
                parameters={name: list(p.shape) for name, p in own.items()},
                own=sum(p.numel() for p in own.values()),
                total=sum(p.numel() for p in layer.parameters()),
                buffers={name: list(b.shape) for name, b in layer.named_buffers(recurse=False)},
                output=output,
                order=order,
                batch_statistics=keeps_batch_statistics(layer),
            )
        )
    return LayerTree(
        name=classifier.name,
        classes=classes,
        input=image,
        head=classifier.head,
        parameters=sum(p.numel() for p in module.parameters()),
        stages=[Stage(name, paths) for name, paths in stages(module, classifier.head)],
        layers=layers,
    )


def module_types(module: nn.Module) -> dict[str, str]:
    """The type's name of each module, by path."""
    return {path: type(layer).__name__ for path, layer in module.named_modules()}


def keeps_batch_statistics(layer: nn.Module) -> bool:
    """Whether a layer has running statistics, which change in training mode."""
    return getattr(layer, "running_mean", None) is not None


def stages(module: nn.Module, head: list[str]) -> list[tuple[str, list[str]]]:
    """The stages of the backbone from the input to the head, as (name, module paths), in the order of definition.

    ResNet: conv1 with its norm, layer1 … layer4; VGG: each convolution, then each linear layer; ViT: the patch
    embedding, each block. Each parameter of the backbone is in one stage; parameters that the network or a container
    holds itself (class tokens) are in none.
    """
    backbone = {id(p) for name, p in module.named_parameters() if not any(name.startswith(h + ".") for h in head)}

    def size(path: str) -> int:
        return sum(p.numel() for p in module.get_submodule(path).parameters() if id(p) in backbone)

    def children(path: str) -> list[str]:
        prefix = f"{path}." if path else ""
        return [prefix + name for name, _ in module.get_submodule(path).named_children() if size(prefix + name)]

    paths = children("")
    total = sum(map(size, paths))
    while expandable := [path for path in paths if children(path)]:
        largest = max(expandable, key=size)
        parts = [module.get_submodule(path) for path in children(largest)]
        holds_sequences = len(parts) > 1 and all(isinstance(part, nn.Sequential) for part in parts)
        if len(paths) >= _FEWEST_STAGES and size(largest) <= _CONTAINER_SHARE * total and not holds_sequences:
            break
        at = paths.index(largest)
        paths[at : at + 1] = children(largest)
    grouped: list[tuple[str, list[str]]] = []
    for path in paths:
        if grouped and _is_normalization(module, path, backbone):
            grouped[-1][1].append(path)  # a normalization between stages belongs to the layer before it
        else:
            grouped.append((path, [path]))
    return grouped


def _is_normalization(module: nn.Module, path: str, backbone: set[int]) -> bool:
    """Whether all parameters of the backbone below ``path`` are those of normalization layers."""
    owners = [
        layer
        for layer in module.get_submodule(path).modules()
        if any(id(p) in backbone for p in layer.parameters(recurse=False))
    ]
    return all(is_norm(type(layer).__name__) for layer in owners)


def _run_once(module: nn.Module, image: list[int]) -> dict[str, tuple[int, list[int] | None]]:
    """(order, output shape) of every module that runs for one image, by path."""
    runs: dict[str, tuple[int, list[int] | None]] = {}
    hooks = []
    started: list[str] = []

    def watch(path: str) -> None:
        def before(_module: nn.Module, _inputs: object) -> None:
            if path not in started:
                started.append(path)

        def after(_module: nn.Module, _inputs: object, output: object) -> None:
            shape = list(output.shape) if isinstance(output, torch.Tensor) else None
            runs.setdefault(path, (started.index(path), shape))

        layer = module.get_submodule(path)
        hooks.append(layer.register_forward_pre_hook(before))
        hooks.append(layer.register_forward_hook(after))

    for path, _ in module.named_modules():
        watch(path)
    try:
        module.eval()(torch.empty(1, *image, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return runs


def _type_name(layer: nn.Module) -> str:
    """The type without "Dropout" for the layers of the head, which are plain layers with dropout."""
    return type(layer).__name__.removeprefix("Dropout") if hasattr(layer, "weight") else type(layer).__name__
