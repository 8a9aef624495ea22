"""Splits a network into a frozen prefix, which runs once per image, and a suffix, which runs in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from engine.errors import first_line
from engine.models.cut import CannotCut, boundary, extract_subgraph, feature_shape, frozen_operations, state_read
from engine.models.freezing import Freezing
from engine.models.registry import Classifier
from engine.models.trace import IMAGE, graph_text, observe, operation, trace
from engine.rng import same_randomness


@dataclass(frozen=True)
class BoundaryTensor:
    """One tensor that is cached for each image.

    ``name``: the path of the layer whose output it is, or the name of the operation. ``shape``: without the batch.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Cut:
    """How a traced network is cut: its ``frozen`` operations, and those whose outputs are cached."""

    traced: fx.GraphModule
    frozen: set[fx.Node]
    boundary: list[fx.Node]


@dataclass(frozen=True)
class NetworkSplit:
    """A network under a freeze plan, as a prefix and a suffix that share its layers and parameters.

    ``kind``: "graph", cut in its graph; "head", cut at its classifier's input; "none", not cut: the boundary is the
    normalized image. ``label``: the last layer of the prefix.
    ``prefix``: normalized images (N, 3, S, S) → a tuple of tensors (N, …), one for each of ``boundary``. For "graph"
    it is an fx.GraphModule.
    ``suffix_train``, ``suffix_eval``: those tensors → the outputs of the network in training and in evaluation mode.
    They do not change their inputs.
    ``prefix_state``: every parameter, buffer and traced constant that the prefix reads, by its name in the network;
    ``code``: the prefix's operations as a text, the same in every process.
    ``why``: why the network is cut later than its plan allows; else "".

    Set the modes of layers on the network (``Freezing.train_mode``, ``module.eval``), never on its parts. Split a
    network again after you move it to another device.
    """

    kind: Literal["graph", "head", "none"]
    boundary: tuple[BoundaryTensor, ...]
    label: str
    prefix: nn.Module
    suffix_train: nn.Module
    suffix_eval: nn.Module
    prefix_state: dict[str, torch.Tensor]
    code: str
    why: str
    cut: Cut | None = field(default=None, repr=False)


def split(classifier: Classifier, freezing: Freezing) -> NetworkSplit:
    """Split a network as late as its freeze plan allows. Its layers end in training mode.

    Random images check each cut in training and in evaluation mode. Where the check fails, the next simpler kind of
    cut is tried. The state of the network and of random number generators stays the same.
    """
    try:
        with same_randomness(_like(classifier).device):
            return _best_cut(classifier, freezing)
    finally:
        freezing.train_mode()


def _best_cut(classifier: Classifier, freezing: Freezing) -> NetworkSplit:
    try:
        found = _split_graph(classifier, freezing)
        _check(found, classifier, freezing)
        return found
    except Exception as error:  # a network's own code may raise anything on fx's proxies
        reason = f"{classifier.name} can't be cut in its graph: {first_line(error)}"
    try:
        found = _split_at_head(classifier, freezing, reason)
        _check(found, classifier, freezing)
        return found
    except CannotCut as error:
        return without_prefix(classifier, f"{reason}; nor at its classifier: {error}")


def bridge(old: NetworkSplit, new: NetworkSplit) -> nn.Module | None:
    """A module that maps the features of the old boundary to those of the new one; None where that is impossible.

    It is possible where the new prefix contains the old one. The features are valid while the old prefix's state is
    the one that they were computed with.
    """
    if old.kind == "none":
        return new.prefix
    if old.cut is None or new.cut is None:
        return None
    here = {operation(node).name: node for node in new.cut.frozen}
    start = [here.get(tensor.name) for tensor in old.boundary]
    traced = new.cut.traced
    try:
        writers, done = _names(new.cut.frozen), _names(old.cut.frozen)
        graph = extract_subgraph(traced.graph, start, new.cut.boundary, writers, done)
    except CannotCut:
        return None
    return fx.GraphModule(traced, graph)


def _split_graph(classifier: Classifier, freezing: Freezing) -> NetworkSplit:
    """Cut a network in its graph. Raises whatever torch.fx raises, and CannotCut."""
    module = classifier.module
    names = {id(tensor): name for name, tensor in reversed(_tensors(module))}
    frozen_tensors = _frozen_tensors(module, freezing)
    freezing.train_mode()
    traced = trace(module)
    observe(traced, classifier.preprocessing.input_shape)
    constants = {id(tensor) for tensor in traced.buffers()} - names.keys()
    frozen = frozen_operations(traced, frozen_tensors | constants)
    stored = boundary(traced.graph, frozen)

    images = traced.graph.find_nodes(op="placeholder")
    prefix = fx.GraphModule(traced, extract_subgraph(traced.graph, images, stored, _names(frozen), set()))
    state = {
        names.get(id(tensor), str(node.target)): tensor.detach()
        for node in prefix.graph.nodes
        for tensor in state_read(prefix, node)
    }
    if not state:
        return without_prefix(classifier, "")
    suffix_train = suffix_eval = _suffix(traced, stored, frozen)
    module.eval()
    evaluated = trace(module)
    if graph_text(evaluated) != graph_text(traced):
        observe(evaluated, classifier.preprocessing.input_shape)
        suffix_eval = _suffix(evaluated, stored, frozen)
    return NetworkSplit(
        kind="graph",
        boundary=tuple(BoundaryTensor(operation(n).name, feature_shape(n), operation(n).value.dtype) for n in stored),
        label=_last_layer(stored[-1], module),
        prefix=prefix,
        suffix_train=suffix_train,
        suffix_eval=suffix_eval,
        prefix_state=state,
        code=graph_text(prefix),
        why="",
        cut=Cut(traced, frozen, stored),
    )


def _suffix(traced: fx.GraphModule, stored: Sequence[fx.Node], frozen: set[fx.Node]) -> fx.GraphModule:
    """The operations after the boundary. ``traced`` may be the graph of evaluation mode, without auxiliary heads."""
    here = {operation(node).name: node for node in traced.graph.nodes}
    start = [here.get(operation(node).name) for node in stored]
    return fx.GraphModule(traced, extract_subgraph(traced.graph, start, None, None, _names(frozen)))


def _names(nodes: Iterable[fx.Node]) -> set[str]:
    return {operation(node).name for node in nodes}


def _last_layer(node: fx.Node, module: nn.Module) -> str:
    """The path of the layer whose output a node is, or else of the layer before it."""
    paths = {path for path, _ in module.named_modules()}
    while operation(node).name not in paths:
        if node.op == "placeholder":
            return IMAGE
        *_, node = [source for source in node.all_input_nodes if operation(source).depends_on_images]
    return operation(node).name


def _split_at_head(classifier: Classifier, freezing: Freezing, why: str) -> NetworkSplit:
    """Cut at the classifier. Raises CannotCut where another layer is trainable or the classifier's input is unclear."""
    module, (head, *auxiliary) = classifier.module, classifier.head
    backbone = {name: tensor for name, tensor in _tensors(module) if not name.startswith(f"{head}.")}
    if auxiliary or not _frozen_tensors(module, freezing).issuperset(map(id, backbone.values())):
        raise CannotCut("another layer than its classifier is trainable")
    freezing.train_mode()
    prefix = _Backbone(module, head)
    with torch.no_grad():
        (features,) = prefix(_random_images(classifier, 2))
    label = f"input of {head}"
    return NetworkSplit(
        kind="head",
        boundary=(BoundaryTensor(label, tuple(features.shape[1:]), features.dtype),),
        label=label,
        prefix=prefix,
        suffix_train=module.get_submodule(head),
        suffix_eval=module.get_submodule(head),
        prefix_state={name: tensor.detach() for name, tensor in backbone.items()},
        code=f"{label} of {module!r}",
        why=why,
    )


def _tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers; a shared one under each of its names."""
    return [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]


def _frozen_tensors(module: nn.Module, freezing: Freezing) -> set[int]:
    """The identities (``id``) of frozen parameters and buffers."""
    frozen = freezing.frozen()
    return {id(tensor) for name, tensor in _tensors(module) if name in frozen}


class _Backbone(nn.Module):
    """A network up to its classifier's input."""

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(N, 3, S, S) → (N, …). Raises CannotCut unless the classifier runs once, on one tensor with N entries."""
        inputs: list[tuple[Any, ...]] = []
        hook = self.network.get_submodule(self.head).register_forward_pre_hook(
            lambda _, arguments: inputs.append(arguments)
        )
        try:
            self.network(images)
        finally:
            hook.remove()
        match inputs:
            case [(torch.Tensor() as features,)] if len(features) == len(images):
                return (features,)
        raise CannotCut(f"{self.head} has no input with one entry per image")


def without_prefix(classifier: Classifier, why: str) -> NetworkSplit:
    """A split whose suffix is the whole network; ``why`` says why it is not cut."""
    return NetworkSplit(
        kind="none",
        boundary=(BoundaryTensor(IMAGE, classifier.preprocessing.input_shape, _like(classifier).dtype),),
        label=IMAGE,
        prefix=_Images(),
        suffix_train=classifier.module,
        suffix_eval=classifier.module,
        prefix_state={},
        code=IMAGE,
        why=why,
    )


class _Images(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(N, C, S, S) → the same"""
        return (images,)


def _check(found: NetworkSplit, classifier: Classifier, freezing: Freezing) -> None:
    """Raises CannotCut unless the parts compute what the network computes, and features depend on their image alone."""
    if found.kind == "none":
        return
    first, second, third = _random_images(classifier, 3).split(1)
    images = torch.cat([first, second])
    classifier.module.eval()
    with_others = _run(found.prefix, torch.cat([third, first]))
    freezing.train_mode()
    features = _run(found.prefix, images)
    if not all(_close(a[0], b[1]) for a, b in zip(features, with_others, strict=True)):
        raise CannotCut("the features of an image depend on the other images of its batch")
    for mode, suffix in (("training", found.suffix_train), ("evaluation", found.suffix_eval)):
        expected, outputs = _run(classifier.module, images), _run(suffix, *features)
        if len(expected) != len(outputs) or not all(map(_close, outputs, expected)):
            raise CannotCut(f"its parts compute other outputs in {mode} mode")
        classifier.module.eval()


def _run(module: nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of a module, always with the same random numbers and without a change of its buffers."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad():
        _seed(inputs[0].device)
        return pytree.tree_leaves(torch.func.functional_call(module, buffers, inputs))


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether tensors are equal up to half of their type's digits, relative to the largest value."""
    if ours.shape != theirs.shape or not theirs.is_floating_point():
        return torch.equal(ours, theirs)
    scale = theirs.nan_to_num().abs().max().item()
    tolerance = torch.finfo(theirs.dtype).eps ** 0.5 * scale
    return torch.allclose(ours, theirs, rtol=0.0, atol=tolerance, equal_nan=True)


def _random_images(classifier: Classifier, count: int) -> torch.Tensor:
    shape, like = classifier.preprocessing.input_shape, _like(classifier)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).to(like)


def _like(classifier: Classifier) -> torch.Tensor:
    return next(p for p in classifier.module.parameters() if p.is_floating_point())


def _seed(device: torch.device) -> None:
    torch.default_generator.manual_seed(0)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(0)
