"""Measures seconds and bytes of each operation of a network, forward and backward."""

from __future__ import annotations

import bisect
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.utils import _pytree as pytree

from engine.compute.loss import Outputs
from engine.models.cut import state_read

Seconds = dict[str, float]


@dataclass
class Costs:
    """Costs by operation name: seconds ``forward`` and ``backward``, bytes ``kept`` for backward and of ``output``."""

    forward: Seconds = field(default_factory=dict)
    backward: Seconds = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    output: dict[str, int] = field(default_factory=dict)

    def least(self, other: Costs) -> Costs:
        """The minimum seconds of both measurements, since other processes only ever slow one down."""
        return Costs(
            _least(self.forward, other.forward), _least(self.backward, other.backward), other.kept, other.output
        )


def measure(
    traced: fx.GraphModule,
    inputs: torch.Tensor,
    arithmetic: AbstractContextManager[object],
    criterion: Callable[[Outputs], torch.Tensor] | None = None,
) -> Costs:
    """Measure one forward pass on ``inputs`` within ``arithmetic``, and one backward pass from ``criterion``'s loss.

    ``traced``: a graph from ``engine.models.trace.trace``, or a part of one. Without ``criterion``: forward only.
    """
    run = _Timed(traced, inputs.device)
    with arithmetic:
        outputs = run.run(inputs)
    if criterion is not None:
        run.backward(criterion(outputs))
    return run.costs


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after synchronizing with the device."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
    return time.perf_counter()


class _Timed(fx.Interpreter):
    """Measures each node of a graph as it runs.

    Autograd numbers its nodes in the order of creation. Each belongs to the first operation that ends after it.
    """

    def __init__(self, traced: fx.GraphModule, device: torch.device) -> None:
        super().__init__(traced)
        self._traced = traced
        self.costs = Costs(backward=defaultdict(float), kept=defaultdict(int))
        self._device = device
        self._ends: list[tuple[int, str]] = []
        self._seen: set[int] = set()
        self._own: set[int] = set()
        self._name = ""

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 (fx's own signature)
        self._name = n.meta.get("name", n.name)
        self._own = {tensor.numel() for tensor in state_read(self._traced, n)}
        with saved_tensors_hooks(self._keep, _identity):
            start = now(self._device)
            value = super().run_node(n)
            self.costs.forward[self._name] = now(self._device) - start
        tensors = [tensor for tensor in pytree.tree_leaves(value) if isinstance(tensor, torch.Tensor)]
        self.costs.output[self._name] = sum(tensor.nbytes for tensor in tensors)
        made = [_number(tensor.grad_fn) for tensor in tensors if tensor.grad_fn]
        if made:
            self._ends.append((max(made), self._name))
        return value

    def backward(self, loss: torch.Tensor) -> None:
        begun: list[tuple[float, str]] = []
        for node in _autograd_nodes(loss):
            at = bisect.bisect_left(self._ends, (_number(node), ""))
            name = self._ends[at][1] if at < len(self._ends) else ""  # "": the loss
            node.register_prehook(lambda _, name=name: begun.append((now(self._device), name)))
        loss.backward()
        ends = [start for start, _ in begun[1:]] + [now(self._device)]
        for (start, name), end in zip(begun, ends, strict=True):
            self.costs.backward[name] += end - start

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen and tensor.numel() not in self._own:  # parameters take no extra memory
            self._seen.add(storage._cdata)
            self.costs.kept[self._name] += storage.nbytes()
        return tensor


def _identity(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _number(node: Node) -> int:
    return node._sequence_nr()  # pyright: ignore[reportAttributeAccessIssue] (there is no public name)


def _autograd_nodes(loss: torch.Tensor) -> Iterable[Node]:
    """All nodes except AccumulateGrad, which runs directly after the node that feeds it."""
    waiting, seen = [loss.grad_fn], set[Node]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.name().endswith("AccumulateGrad"):
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return seen


def _least(a: Seconds, b: Seconds) -> Seconds:
    return {name: min(a.get(name, b.get(name, 0.0)), b.get(name, a.get(name, 0.0))) for name in a | b}
