"""What each stage of a network gives, and what its classifier is given, also where the network is cut."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import fx, nn
from torch.nn import functional

from engine.models.frozen_prefix import Rows
from engine.models.layer_tree import stages
from engine.models.registry import Classifier
from engine.models.split import Split
from engine.models.trace import operation

HEAD_INPUT = ""
"""The name of what the classifier is given, among those of stages."""

_GRID = 4  # places of a feature map beside each other that are told apart; more take memory and say little else

Outputs = dict[str, torch.Tensor]


def features(output: torch.Tensor) -> torch.Tensor:
    """What a stage gives for N pictures → (N, D): feature maps averaged over a coarse grid, tokens over all of them."""
    if output.ndim == 4:
        output = functional.adaptive_avg_pool2d(output, (min(output.shape[2], _GRID), min(output.shape[3], _GRID)))
    elif output.ndim == 3:
        output = output.mean(1)
    return output.flatten(1).float()


def of_whole(classifier: Classifier, state: Mapping[str, torch.Tensor], pictures: torch.Tensor) -> Outputs:
    """Of all stages, for normalized pictures (N, 3, S, S); ``state`` stands in for tensors of the network."""
    with _watched(classifier) as found:
        torch.func.functional_call(classifier.module, dict(state), (pictures,))
    return found


@contextmanager
def _watched(classifier: Classifier) -> Iterator[Outputs]:
    found: Outputs = {}

    def remember(name: str, _layer: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            found[name] = output

    module = classifier.module
    hooks = [
        module.get_submodule(paths[-1]).register_forward_hook(functools.partial(remember, name))
        for name, paths in stages(module, classifier.head)
    ]
    head = module.get_submodule(classifier.head[0])
    hooks.append(head.register_forward_pre_hook(lambda _, given: found.update({HEAD_INPUT: given[0]})))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class Suffix:
    """Of the stages behind a cut, from the rows that are kept there."""

    def __init__(self, split: Split, classifier: Classifier) -> None:
        self._classifier = classifier
        self._graph: fx.GraphModule | None = None
        if isinstance(split.suffix_eval, fx.GraphModule):
            self._graph = _giving(split.suffix_eval, _nodes(split.suffix_eval.graph, classifier))

    def __call__(self, inputs: Rows) -> Outputs:
        """Each input (N, …) → what each stage gives (N, …). The network is in evaluation mode."""
        if self._graph is not None:
            return self._graph(*inputs)
        return of_whole(self._classifier, {}, *inputs)


def _giving(suffix: fx.GraphModule, wanted: Mapping[str, fx.Node]) -> fx.GraphModule:
    """A graph with other results, by name."""
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(suffix.graph, values)
    graph.output({name: values[node] for name, node in wanted.items()})
    return fx.GraphModule(suffix, graph)


def _nodes(graph: fx.Graph, classifier: Classifier) -> dict[str, fx.Node]:
    """The nodes that are the outputs of stages, and the one that the classifier is given."""
    known = stages(classifier.module, classifier.head)
    head = classifier.head[0]
    last = [*(paths[-1] for _, paths in known), head]
    named = {operation(node).name: node for node in graph.nodes if "operation" in node.meta}
    found = {name: node for at, (name, _) in enumerate(known) if (node := _output(last, at, named))}
    output = given = _output(last, len(known), named)
    while given and (given is output or ("operation" in given.meta and _inside(operation(given).name, head))):
        given = next((node for node in given.all_input_nodes if node.op != "get_attr"), None)
    return {**found, HEAD_INPUT: given} if given else found


def _output(paths: Sequence[str], at: int, named: Mapping[str, fx.Node]) -> fx.Node | None:
    """The output of the part of the network at ``paths[at]``, under its own name or under that of a part that ends with
    it, since a node is called after the largest such part."""
    path = paths[at]
    while path and not any(_inside(later, path) for later in paths[at + 1 :]):
        if path in named:
            return named[path]
        path = path.rpartition(".")[0]
    return None


def _inside(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
