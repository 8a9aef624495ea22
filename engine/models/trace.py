"""Traces a network into a graph of operations and records what each of them does.

The graph is torch.fx's (Reed et al. 2022, 2112.08429).
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import ParameterProxy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchvision.ops import StochasticDepth

from engine.models.head import DropoutConv2d, DropoutLinear

IMAGE = "image"  # the name of a network's input
# Two batch sizes show which sizes grow with the batch.
SMALL_BATCH, LARGE_BATCH = 2, 3


@dataclass(frozen=True)
class Operation:
    """What one node of a graph does.

    ``name``: the path of the largest module whose output the node computes; for other nodes, the path of the module
    that they run in and their own name. Names are unique, and the same in the graphs of training and evaluation mode.
    ``value`` and ``large_value``: its output for SMALL_BATCH and for LARGE_BATCH images, tensors on the meta device.
    ``depends_on_images``: whether the content of a tensor in its output depends on the images.
    ``memory``: the storages of its tensors; ``writes``: the storages that it writes to in place.
    ``random``: it draws random numbers. ``cheap``: it multiplies no matrices.
    """

    name: str
    value: Any
    large_value: Any
    depends_on_images: bool
    memory: frozenset[int]
    writes: frozenset[int]
    random: bool
    cheap: bool

    @property
    def is_tensor(self) -> bool:
        """Whether the value is one tensor."""
        return isinstance(self.value, torch.Tensor)

    @property
    def holds_tensors(self) -> bool:
        """Whether the value is a tensor or a container with at least one."""
        return bool(_tensors(self.value))


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of a network with its layers in their present modes. Graph and network share layers and parameters.

    The one placeholder takes normalized images (N, 3, S, S). Raises whatever torch.fx raises for a network whose
    control flow depends on its data.
    """
    tracer = _Tracer(module)
    with _attributes_kept(module):
        graph = tracer.trace(module, _defaults(module.forward))
        _drop_options(graph)
        for node, name in tracer.names(graph).items():
            node.meta["name"] = name
        return fx.GraphModule(module, graph)


@contextlib.contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Restores the attributes of all layers at the end.

    fx stores constants on a network, numbered on from the last trace; some layers cache tensors for the last size.
    """
    kept = [(layer, dict(vars(layer))) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, attributes in kept:
            vars(layer).clear()
            vars(layer).update(attributes)


def observe(traced: fx.GraphModule, image_shape: tuple[int, int, int]) -> None:
    """Record what each node of a graph does, by runs on the meta device; ``operation`` returns it."""
    small, large = (_run_on_meta(traced, image_shape, count) for count in (SMALL_BATCH, LARGE_BATCH))
    dependent: set[fx.Node] = set(traced.graph.find_nodes(op="placeholder"))
    for node in traced.graph.nodes:
        if dependent.intersection(node.all_input_nodes) and _tensors(small[node].value):
            dependent.add(node)
        node.meta["operation"] = replace(
            small[node], large_value=large[node].value, depends_on_images=node in dependent
        )


def operation(node: fx.Node) -> Operation:
    """What ``observe`` recorded of a node."""
    return node.meta["operation"]


def graph_text(graph_module: fx.GraphModule) -> str:
    """A text that identifies the operations of a graph in every process: a line per node, with its layer's settings."""
    numbers: dict[fx.Node, str] = {}
    lines = []
    for number, node in enumerate(graph_module.graph.nodes):
        numbers[node] = f"%{number}"
        arguments = fx.map_arg((node.args, node.kwargs), lambda n: _Reference(numbers[n]))
        target = torch.typename(node.target) if callable(node.target) else node.target
        settings = f" {graph_module.get_submodule(str(node.target))!r}" if node.op == "call_module" else ""
        lines.append(f"%{number} {node.op} {target} {arguments}{settings}")
    return "\n".join(lines)


class _Reference(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Tracer(fx.Tracer):
    """Does not trace into layers whose operations depend on their mode or on the data."""

    def __init__(self, module: nn.Module) -> None:
        timm = sys.modules.get("timm.layers")  # imported already if the network is timm's
        functions = timm.get_notrace_functions() if timm else ()
        super().__init__(autowrap_functions=tuple(functions))
        self._leaves: tuple[type, ...] = (_BatchNorm, StochasticDepth, DropoutLinear, DropoutConv2d)
        if timm:
            self._leaves += (timm.DropPath, timm.DropBlock2d, timm.PatchDropout, *timm.get_notrace_modules())
        self._named = {id(p): name for name, p in itertools.chain(module.named_parameters(), module.named_buffers())}
        self._within: dict[fx.Node, str] = {}
        self._output_of: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """Makes the graph read buffers when it runs, like parameters; fx alone would keep their present values."""
        name = self._named.get(id(attr_val))
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            sized = functools.partial(
                ParameterProxy, self, name=name, param=attr_val
            )  # control flow may depend on its shape
            factory = sized if isinstance(attr_val, nn.Parameter) else None
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {}, proxy_factory_fn=factory)
        return parameter_proxy_cache[name]

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self._within[node] = self.scope.module_path
        return node

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        if isinstance(output, fx.Proxy) and f"{self._within[output.node]}.".startswith(f"{path}."):
            self._output_of[output.node] = path  # modules end from the innermost to the outermost
        return output

    def names(self, graph: fx.Graph) -> dict[fx.Node, str]:
        taken: collections.Counter[str] = collections.Counter()
        names: dict[fx.Node, str] = {}
        for node in graph.nodes:
            name = IMAGE if node.op == "placeholder" else self._output_of.get(node, "")
            if not name or taken[name]:
                called = getattr(node.target, "__name__", None) or str(node.target)
                within = "" if node.op in ("call_module", "get_attr") else self._within[node]
                name = f"{within}.{called}".removeprefix(".")
            names[node] = f"{name}_{taken[name]}" if taken[name] else name
            taken[name] += 1
        return names


def _defaults(forward: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _drop_options(graph: fx.Graph) -> None:
    """Removes the placeholders of optional arguments, and fx's assertions that they have their defaults."""
    _images, *options = graph.find_nodes(op="placeholder")
    for option in options:
        for assertion in list(option.users):
            for use in list(assertion.users):
                graph.erase_node(use)
            graph.erase_node(assertion)
        graph.erase_node(option)


def _run_on_meta(traced: fx.GraphModule, image_shape: tuple[int, int, int], count: int) -> dict[fx.Node, Operation]:
    """Every node's operation for ``count`` images on the meta device: computes nothing and changes no state."""
    observed = _Observed(traced)
    state = {
        name: tensor.detach().to("meta")
        for name, tensor in itertools.chain(observed.named_parameters(), observed.named_buffers())
    }
    dtype = next(p.dtype for p in traced.parameters() if p.is_floating_point())
    images = torch.empty(count, *image_shape, dtype=dtype, device="meta")
    with torch.no_grad(), _attributes_kept(traced):
        return torch.func.functional_call(observed, state, (images,))


class _Observed(nn.Module):
    """A module around the interpreter: ``functional_call`` can replace the parameters of a module alone."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, images: torch.Tensor) -> dict[fx.Node, Operation]:
        with _CallRecorder() as calls:
            observer = _Observer(self.traced, calls)
            observer.run(images)
        return observer.operations


class _Observer(fx.Interpreter):
    """Runs a graph and records what each node does."""

    def __init__(self, traced: fx.GraphModule, calls: _CallRecorder) -> None:
        super().__init__(traced, garbage_collect_values=False)  # a storage that lives keeps its identity
        self.operations: dict[fx.Node, Operation] = {}
        self._calls = calls

    def run_node(self, n: fx.Node) -> Any:
        touched = list(self._touched(n))
        versions = [tensor._version for tensor in touched]
        self._calls.reset()
        value = super().run_node(n)
        written = [t for t, version in zip(touched, versions, strict=True) if t._version != version]
        self.operations[n] = Operation(
            name=n.meta["name"],
            value=value,
            large_value=None,
            depends_on_images=False,
            memory=frozenset(map(_storage, _tensors(value))),
            writes=frozenset(map(_storage, written)),
            random=self._calls.random,
            cheap=not self._calls.multiplications,
        )
        return value

    def _touched(self, node: fx.Node) -> Iterator[torch.Tensor]:
        for source in node.all_input_nodes:
            yield from _tensors(self.env[source])
        if node.op == "call_module":
            layer = self.fetch_attr(str(node.target))
            yield from layer.parameters()
            yield from layer.buffers()


class _CallRecorder(TorchDispatchMode):
    """Records which kinds of PyTorch operations ran since ``reset``."""

    random = False
    multiplications = False

    def reset(self) -> None:
        self.random = self.multiplications = False

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            arguments = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
            # Fused attention includes dropout; at its default probability, zero, it draws nothing.
            self.random |= "attention" not in str(func) or arguments.get("dropout_p", 0.0) > 0
        self.multiplications |= func._overloadpacket in flop_registry
        return func(*args, **kwargs)


def _tensors(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
