"""Cutting a traced network in two: which operations frozen weights alone decide, and the graphs on both sides."""

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
from engine.models.trace import FEW, MORE, operation


class CannotCut(Exception):
    """The message says which part of the network stands against it."""


@dataclass(frozen=True)
class Layout:
    """Where a tensor has its images: dimension ``dim`` has ``per_image`` entries of the first image, then those
    of the second, and so on."""

    dim: int
    per_image: int


def layout(node: fx.Node) -> Layout:
    """Raises CannotCut for what is no tensor with one dimension that grows with the batch."""
    if not operation(node).is_tensor:
        raise CannotCut(f"{operation(node).name} gives more than one tensor")
    few, more = operation(node).few.shape, operation(node).more.shape
    growing = [dim for dim, (a, b) in enumerate(zip(few, more, strict=True)) if a != b]
    if len(growing) != 1 or few[growing[0]] % FEW or few[growing[0]] * MORE != more[growing[0]] * FEW:
        raise CannotCut(f"{operation(node).name} has no rows per image")
    return Layout(growing[0], few[growing[0]] // FEW)


def row_shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of one image's row of a tensor, as ``part`` gives it out."""
    where = layout(node)
    shape = list(operation(node).few.shape)
    del shape[where.dim]
    return (*([where.per_image] if where.per_image > 1 else []), *shape)


def computed_once(traced: fx.GraphModule, fixed: Container[int]) -> set[fx.Node]:
    """The operations that depend on the images and on fixed tensors alone and always give the same.

    ``traced`` is the graph of the modes of training; ``fixed`` holds the identities (``id``) of the parameters and
    buffers that do not move. Operations may write in place, so one that trains must also not come between two others
    that share memory.
    """
    state = _memory(node for node in traced.graph.nodes if node.op == "get_attr")
    once: set[fx.Node] = set()
    read_later: set[int] = set()
    written_later: set[int] = set()
    for node in traced.graph.nodes:
        does = operation(node)
        reads = _memory(node.all_input_nodes)
        if (
            node.op != "output"
            and once.issuperset(node.all_input_nodes)
            and all(id(tensor) in fixed for tensor in state_read(traced, node))
            and not does.random
            and not _mixes_images(traced, node)
            and does.writes <= reads - state
            and not reads & written_later
            and not does.writes & read_later
        ):
            once.add(node)
        else:
            read_later |= reads
            written_later |= does.writes
    return once


def state_read(traced: fx.GraphModule, node: fx.Node) -> list[torch.Tensor]:
    """The parameters and buffers that a node reads itself."""
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        return [*layer.parameters(), *layer.buffers()]
    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(traced)
        return [value] if isinstance(value, torch.Tensor) else []
    return []


def _mixes_images(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a layer normalizes with the statistics of the batch at hand even where it is frozen."""
    layers = traced.get_submodule(str(node.target)).modules() if node.op == "call_module" else ()
    return any(isinstance(layer, _BatchNorm) and layer.running_mean is None for layer in layers)


def _memory(nodes: Iterable[fx.Node]) -> frozenset[int]:
    return frozenset[int]().union(*(operation(node).memory for node in nodes))


def boundary(graph: fx.Graph, once: set[fx.Node]) -> list[fx.Node]:
    """The tensors that are cached for each image, in the order of execution; see ``choose_boundary``."""
    order = list(graph.nodes)
    _, stored = choose_boundary(boundary_nodes(graph), {at for at, node in enumerate(order) if node in once})
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
        output_size = None if not does.is_tensor else does.few.numel() // FEW
        nodes.append(
            Node(
                inputs=[position[given] for given in node.all_input_nodes],
                output_size=output_size if does.follows_images and node.op != "output" else 0,
                repeatable=does.cheap and not overwritten,
                view=does.memory <= input_memory,
                returned=any(user.op == "output" for user in node.users),
            )
        )
    return nodes


def part(
    graph: fx.Graph,
    start: Sequence[fx.Node | None],
    end: Sequence[fx.Node] | None,
    once: set[str] | None,
    done: set[str],
) -> fx.Graph:
    """The operations that lead from the tensors ``start`` to ``end``, or to what the whole graph gives if that is None.

    Tensors come and go with the images in their first dimension; None in ``start`` stands for one without a use
    here. Of the operations that write in place, those run that ``once`` names (None: all) and not those in ``done``,
    which ran before ``start``, unless what they write to is made anew. Raises CannotCut where more is needed than
    ``start``.
    """
    given = {node for node in start if node is not None}
    computable: set[fx.Node] = set()
    for node in graph.nodes:
        if node in given or (node.op != "placeholder" and computable.issuperset(node.all_input_nodes)):
            computable.add(node)
    *_, output = graph.nodes
    writers = [n for n in graph.nodes if operation(n).writes and (once is None or operation(n).name in once)]
    goals = [*(end or [output]), *(n for n in writers if operation(n).name not in done)]
    needed = _needed(goals, given, computable)
    while again := [n for n in writers if n not in needed and operation(n).writes & (_memory(needed) - _memory(given))]:
        goals += again
        needed = _needed(goals, given, computable)
    written = frozenset[int]().union(*(operation(node).writes for node in needed))

    result = fx.Graph()
    inputs = [result.placeholder(f"rows_{number}") for number in range(len(start))]
    values: dict[fx.Node, Any] = {}
    for node, rows in zip(start, inputs, strict=True):
        if node is not None:
            own = result.call_method("clone", (rows,)) if operation(node).memory & written else rows
            values[node] = _from_rows(result, own, layout(node))
    for node in graph.nodes:
        if node in needed:
            if node in computable or operation(node).holds_tensors:
                values[node] = result.node_copy(node, values.__getitem__)
            else:
                values[node] = _same_value(result, inputs[0], operation(node).few, operation(node).more)
    if end is not None:
        result.output(tuple(_to_rows(result, values[node], layout(node)) for node in end))
    return result


def _needed(goals: Iterable[fx.Node], given: set[fx.Node], computable: set[fx.Node]) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    waiting = list(goals)
    while waiting:
        node = waiting.pop()
        if node in needed or node in given:
            continue
        if node.op == "placeholder":
            raise CannotCut("the images themselves are needed behind the boundary")
        needed.add(node)
        if node in computable or operation(node).holds_tensors:
            waiting += node.all_input_nodes
    return needed


def _same_value(graph: fx.Graph, rows: fx.Node, few: object, more: object) -> Argument:
    """A value without tensors that came from before the boundary: a constant, or a multiple of the number of rows."""
    if isinstance(few, torch.device):
        return graph.call_function(getattr, (rows, "device"))
    if isinstance(few, tuple | list) and isinstance(more, tuple | list) and len(few) == len(more):
        return tuple(_same_value(graph, rows, a, b) for a, b in zip(few, more, strict=True))
    if few == more:
        return cast(Argument, few)
    if isinstance(few, int) and isinstance(more, int) and few % FEW == 0 and few * MORE == more * FEW:
        return graph.call_function(operator.mul, (graph.call_method("size", (rows, 0)), few // FEW))
    raise CannotCut(f"a size of {few} for {FEW} images and {more} for {MORE} is needed behind the boundary")


def _to_rows(graph: fx.Graph, tensor: fx.Node, where: Layout) -> fx.Node:
    if where.dim:
        tensor = graph.call_method("movedim", (tensor, where.dim, 0))
    if where.per_image > 1:
        tensor = graph.call_method("unflatten", (tensor, 0, (-1, where.per_image)))
    return tensor


def _from_rows(graph: fx.Graph, rows: fx.Node, where: Layout) -> fx.Node:
    if where.per_image > 1:
        rows = graph.call_method("flatten", (rows, 0, 1))
    if where.dim:
        rows = graph.call_method("movedim", (rows, 0, where.dim))
    return rows
