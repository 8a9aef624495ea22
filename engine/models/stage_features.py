"""The outputs of each stage of a network and its classifier's input, also from cached features."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import fx, nn
from torch.nn import functional

from engine.models.frozen_prefix import Features
from engine.models.layer_tree import stages
from engine.models.registry import Classifier
from engine.models.split import NetworkSplit
from engine.models.trace import operation

HEAD_INPUT = ""
"""The name of the classifier's input beside the names of stages."""

_GRID = 4  # cells per side that a feature map is averaged over; more take memory and add little

Outputs = dict[str, torch.Tensor]


def features(output: torch.Tensor) -> torch.Tensor:
    """A stage's output for N images → (N, D): feature maps averaged over a coarse grid, tokens over all tokens."""
    if output.ndim == 4:
        output = functional.adaptive_avg_pool2d(output, (min(output.shape[2], _GRID), min(output.shape[3], _GRID)))
    elif output.ndim == 3:
        output = output.mean(1)
    return output.flatten(1).float()


def of_whole(classifier: Classifier, state: Mapping[str, torch.Tensor], images: torch.Tensor) -> Outputs:
    """The outputs of all stages for normalized images (N, 3, S, S), with ``state`` in place of tensors of the network.

    Feature maps are (N, C, H, W), also those of channels-last networks.
    """
    with _watched(classifier) as found:
        torch.func.functional_call(classifier.module, dict(state), (images,))
    return _channels_first(found, _channels_last_stages(found))


def is_channels_last(output: torch.Tensor) -> bool:
    """Whether feature maps are (N, H, W, C), as Swin's are. Maps are square, so that the third size is the channels."""
    return output.ndim == 4 and output.shape[1] == output.shape[2] != output.shape[3]


def _channels_last_stages(outputs: Outputs) -> frozenset[str]:
    """The stages of a network whose feature maps are channels-last.

    For a map with three equal sizes the majority of the other stages decides.
    """
    maps = {name: output for name, output in outputs.items() if output.ndim == 4 and name != HEAD_INPUT}
    last = {name for name, output in maps.items() if is_channels_last(output)}
    unclear = {name for name, output in maps.items() if len(set(output.shape[1:])) == 1}
    first = maps.keys() - last - unclear
    return frozenset(last | unclear if len(last) > len(first) else last)


def _channels_first(outputs: Outputs, channels_last: Collection[str]) -> Outputs:
    return {name: outputs[name].movedim(-1, 1) if name in channels_last else outputs[name] for name in outputs}


@contextmanager
def _watched(classifier: Classifier) -> Iterator[Outputs]:
    found: Outputs = {}

    def record(name: str, _layer: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            found[name] = output

    module = classifier.module
    hooks = [
        module.get_submodule(paths[-1]).register_forward_hook(functools.partial(record, name))
        for name, paths in _backbone_stages(classifier)
    ]
    head = module.get_submodule(classifier.head[0])
    hooks.append(head.register_forward_pre_hook(lambda _, inputs: found.update({HEAD_INPUT: inputs[0]})))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _backbone_stages(classifier: Classifier) -> list[tuple[str, list[str]]]:
    """The stages without modules that hold the classifier: their outputs are logits, not features."""
    own = [
        (name, [path for path in paths if not any(_inside(head, path) for head in classifier.head)])
        for name, paths in stages(classifier.module, classifier.head)
    ]
    return [(name, paths) for name, paths in own if paths]


class Suffix:
    """Computes the outputs of the stages after a cut from cached features."""

    def __init__(self, split: NetworkSplit, classifier: Classifier) -> None:
        self._classifier = classifier
        self._graph: fx.GraphModule | None = None
        self._channels_last: frozenset[str] = frozenset()
        if isinstance(split.suffix_eval, fx.GraphModule):
            self._graph = _giving(split.suffix_eval, _nodes(split.suffix_eval.graph, classifier))
            self._channels_last = _channels_last_in(classifier)

    def __call__(self, inputs: Features) -> Outputs:
        """Inputs (N, …) → the output of each stage (N, …). The network must be in evaluation mode."""
        if self._graph is not None:
            return _channels_first(self._graph(*inputs), self._channels_last)
        return of_whole(self._classifier, {}, *inputs)


@torch.no_grad()
def _channels_last_in(classifier: Classifier) -> frozenset[str]:
    """The stages with channels-last maps, from a run on a black image: after a cut too few may be left to decide."""
    shape, parameter = classifier.preprocessing.input_shape, next(classifier.module.parameters())
    with _watched(classifier) as found:
        classifier.module(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    return _channels_last_stages(found)


def _giving(suffix: fx.GraphModule, wanted: Mapping[str, fx.Node]) -> fx.GraphModule:
    """The graph with other outputs, by name."""
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(suffix.graph, values)
    graph.output({name: values[node] for name, node in wanted.items()})
    return fx.GraphModule(suffix, graph)


def _nodes(graph: fx.Graph, classifier: Classifier) -> dict[str, fx.Node]:
    """The nodes of the stages' outputs and of the classifier's input."""
    known, head = _backbone_stages(classifier), classifier.head[0]
    parts = [*(paths for _, paths in known), [head]]
    named = {operation(node).name: node for node in graph.nodes if "operation" in node.meta}
    found = {name: node for at, (name, _) in enumerate(known) if (node := _output(parts, at, named))}
    output = source = _output(parts, len(known), named)
    while source and (source is output or ("operation" in source.meta and _inside(operation(source).name, head))):
        source = next((node for node in source.all_input_nodes if node.op != "get_attr"), None)
    return {**found, HEAD_INPUT: source} if source else found


def _output(parts: Sequence[Sequence[str]], at: int, named: Mapping[str, fx.Node]) -> fx.Node | None:
    """The node of the output of ``parts[at]``'s last path.

    A node has the name of the largest module that ends with it.
    """
    path = parts[at][-1]
    while path and not any(_inside(later, path) for paths in parts[at + 1 :] for later in paths):
        if path in named:
            return named[path]
        path = path.rpartition(".")[0]
    return None


def _inside(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
