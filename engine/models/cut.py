"""Cuts the graph of a network into a frozen prefix and a trainable suffix."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx
from torch.fx.node import Argument
from torch.nn.modules.batchnorm import _BatchNorm

from engine.models.boundary import Node, choose_boundary
from engine.models.trace import LARGE_BATCH, SMALL_BATCH, operation


class CannotCut(Exception):
    """A network can't be cut; the message names the operation that prevents it."""


@dataclass(frozen=True)
class Layout:
    """The position of the batch in a tensor.

    Dimension ``dim`` holds ``per_image`` entries of the first image, then those of the second, and so on.
    """

    dim: int
    per_image: int


def layout(node: fx.Node) -> Layout:
    """The layout of a node's output. Raises CannotCut unless it is a tensor with one batch dimension."""
    if not operation(node).is_tensor:
        raise CannotCut(f"{operation(node).name} returns more than one tensor")
    few, more = operation(node).value.shape, operation(node).large_value.shape
    growing = [dim for dim, (a, b) in enumerate(zip(few, more, strict=True)) if a != b]
    if (
        len(growing) != 1
        or few[growing[0]] % SMALL_BATCH
        or few[growing[0]] * LARGE_BATCH != more[growing[0]] * SMALL_BATCH
    ):
        raise CannotCut(f"{operation(node).name} has no batch dimension")
    return Layout(growing[0], few[growing[0]] // SMALL_BATCH)


def feature_shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of one image's features, as a graph of ``extract_subgraph`` returns them."""
    where = layout(node)
    shape = list(operation(node).value.shape)
    del shape[where.dim]
    return (*([where.per_image] if where.per_image > 1 else []), *shape)


def frozen_operations(traced: fx.GraphModule, frozen: Container[int]) -> set[fx.Node]:
    """The operations whose output for an image is the same in every epoch.

    They read the images and frozen tensors alone and draw no random numbers. In-place operations restrict the set:
    no operation outside it may write to, or read, memory that a frozen one writes to or reads later.

    ``traced`` is the graph in training mode; ``frozen`` holds the identities (``id``) of frozen parameters and buffers.
    """
    state = _memory(node for node in traced.graph.nodes if node.op == "get_attr")
    found: set[fx.Node] = set()
    read_later: set[int] = set()
    written_later: set[int] = set()
    for node in traced.graph.nodes:
        does = operation(node)
        reads = _memory(node.all_input_nodes)
        if (
            node.op != "output"
            and found.issuperset(node.all_input_nodes)
            and all(id(tensor) in frozen for tensor in state_read(traced, node))
            and not does.random
            and not _mixes_images(traced, node)
            and does.writes <= reads - state
            and not reads & written_later
            and not does.writes & read_later
        ):
            found.add(node)
        else:
            read_later |= reads
            written_later |= does.writes
    return found


def state_read(traced: fx.GraphModule, node: fx.Node) -> list[torch.Tensor]:
    """The parameters and buffers that a node reads."""
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        return [*layer.parameters(), *layer.buffers()]
    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(traced)
        return [value] if isinstance(value, torch.Tensor) else []
    return []


def _mixes_images(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a batch norm has no running statistics: then it uses those of the batch even where it is frozen."""
    layers = traced.get_submodule(str(node.target)).modules() if node.op == "call_module" else ()
    return any(isinstance(layer, _BatchNorm) and layer.running_mean is None for layer in layers)


def _memory(nodes: Iterable[fx.Node]) -> frozenset[int]:
    return frozenset[int]().union(*(operation(node).memory for node in nodes))


def boundary(graph: fx.Graph, frozen: Container[fx.Node]) -> list[fx.Node]:
    """The operations whose outputs are cached for each image, in the order of execution; see ``choose_boundary``."""
    order = list(graph.nodes)
    _, stored = choose_boundary(boundary_nodes(graph), {at for at, node in enumerate(order) if node in frozen})
    return [order[at] for at in stored]


def boundary_nodes(graph: fx.Graph) -> list[Node]:
    """What ``choose_boundary`` needs to know of each operation of a graph.

    An operation whose input is overwritten, by itself or later, is not repeatable.
    """
    position = {node: number for number, node in enumerate(graph.nodes)}
    last_write = {memory: position[node] for node in graph.nodes for memory in operation(node).writes}
    nodes = []
    for node in graph.nodes:
        does = operation(node)
        input_memory = _memory(node.all_input_nodes)
        overwritten = any(last_write.get(memory, -1) >= position[node] for memory in input_memory)
        output_size = None if not does.is_tensor else does.value.numel() // SMALL_BATCH
        nodes.append(
            Node(
                inputs=[position[source] for source in node.all_input_nodes],
                output_size=output_size if does.depends_on_images and node.op != "output" else 0,
                repeatable=does.cheap and not overwritten,
                view=does.memory <= input_memory,
                returned=any(user.op == "output" for user in node.users),
            )
        )
    return nodes


def extract_subgraph(
    graph: fx.Graph,
    start: Sequence[fx.Node | None],
    end: Sequence[fx.Node] | None,
    writers: Container[str] | None,
    done: Container[str],
) -> fx.Graph:
    """The operations that compute ``end`` from ``start``, as a graph of its own.

    ::

        images ── conv ── relu ── pool ── fc ── output        start=[relu], end=None:  relu ── pool ── fc ── output
                            └──── aux                         start=[images], end=[relu]:  images ── conv ── relu

    Its inputs are the outputs of the nodes in ``start``, with the batch as their first dimension; None stands for an
    input that the graph does not use. It returns the outputs of ``end`` in the same layout; where ``end`` is None, it
    returns what ``graph`` returns.

    In-place operations run although no result leads to them: those named in ``writers`` (None: all), except those in
    ``done``, which ran before ``start``. One in ``done`` runs again where the tensor that it writes to is recomputed.

    Raises CannotCut where ``end`` depends on an operation before ``start``.
    """
    starts = {node for node in start if node is not None}
    computable = _computable_from(graph, starts)
    needed = _needed(graph, starts, computable, end, writers, done)
    written = frozenset[int]().union(*(operation(node).writes for node in needed))

    result = fx.Graph()
    inputs = [result.placeholder(f"features_{number}") for number in range(len(start))]
    values: dict[fx.Node, Any] = {}
    for node, features in zip(start, inputs, strict=True):
        if node is not None:
            own = result.call_method("clone", (features,)) if operation(node).memory & written else features
            values[node] = _from_batch_first(result, own, layout(node))
    for node in graph.nodes:
        if node in needed:
            if node in computable or operation(node).holds_tensors:
                values[node] = result.node_copy(node, values.__getitem__)
            else:
                values[node] = _same_value(result, inputs[0], operation(node).value, operation(node).large_value)
    if end is not None:
        result.output(tuple(_to_batch_first(result, values[node], layout(node)) for node in end))
    return result


def _computable_from(graph: fx.Graph, starts: set[fx.Node]) -> set[fx.Node]:
    """The nodes that depend on ``starts``, parameters and constants alone."""
    computable: set[fx.Node] = set()
    for node in graph.nodes:
        if node in starts or (node.op != "placeholder" and computable.issuperset(node.all_input_nodes)):
            computable.add(node)
    return computable


def _needed(
    graph: fx.Graph,
    starts: set[fx.Node],
    computable: set[fx.Node],
    end: Sequence[fx.Node] | None,
    writers: Container[str] | None,
    done: Container[str],
) -> set[fx.Node]:
    """The nodes that ``end`` depends on, and the in-place operations that change what they read."""
    *_, output = graph.nodes
    writing = [n for n in graph.nodes if operation(n).writes and (writers is None or operation(n).name in writers)]
    goals = [*(end or [output]), *(n for n in writing if operation(n).name not in done)]
    needed = _dependencies(goals, starts, computable)
    while again := [
        n for n in writing if n not in needed and operation(n).writes & (_memory(needed) - _memory(starts))
    ]:
        goals += again
        needed = _dependencies(goals, starts, computable)
    return needed


def _dependencies(goals: Iterable[fx.Node], starts: set[fx.Node], computable: set[fx.Node]) -> set[fx.Node]:
    """The nodes that ``goals`` depend on, themselves included, back to ``starts``."""
    found: set[fx.Node] = set()
    waiting = list(goals)
    while waiting:
        node = waiting.pop()
        if node in found or node in starts:
            continue
        if node.op == "placeholder":
            raise CannotCut("the images themselves are needed behind the boundary")
        found.add(node)
        if node in computable or operation(node).holds_tensors:
            waiting += node.all_input_nodes
    return found


def _same_value(graph: fx.Graph, features: fx.Node, few: object, more: object) -> Argument:
    """A value without tensors from before the boundary: a constant, or a multiple of the batch size."""
    if isinstance(few, torch.device):
        return graph.call_function(getattr, (features, "device"))
    if isinstance(few, tuple | list) and isinstance(more, tuple | list) and len(few) == len(more):
        return tuple(_same_value(graph, features, a, b) for a, b in zip(few, more, strict=True))
    if few == more:
        return cast(Argument, few)
    if (
        isinstance(few, int)
        and isinstance(more, int)
        and few % SMALL_BATCH == 0
        and few * LARGE_BATCH == more * SMALL_BATCH
    ):
        return graph.call_function(operator.mul, (graph.call_method("size", (features, 0)), few // SMALL_BATCH))
    raise CannotCut(
        f"a size of {few} for {SMALL_BATCH} images and {more} for {LARGE_BATCH} is needed behind the boundary"
    )


def _to_batch_first(graph: fx.Graph, tensor: fx.Node, where: Layout) -> fx.Node:
    if where.dim:
        tensor = graph.call_method("movedim", (tensor, where.dim, 0))
    if where.per_image > 1:
        tensor = graph.call_method("unflatten", (tensor, 0, (-1, where.per_image)))
    return tensor


def _from_batch_first(graph: fx.Graph, features: fx.Node, where: Layout) -> fx.Node:
    if where.per_image > 1:
        features = graph.call_method("flatten", (features, 0, 1))
    if where.dim:
        features = graph.call_method("movedim", (features, 0, where.dim))
    return features
