"""A network as a graph of its operations, with what is known of each of them.

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
# Two batch sizes tell a size that grows with the batch from one that does not.
FEW, MORE = 2, 3


@dataclass(frozen=True)
class Operation:
    """What one node of a graph does.

    ``name``: the path of the largest module whose output the node is, or the path of the module that it runs in and
    its own name; unique within a graph, and the same in the graphs of training and of evaluation.
    ``few`` and ``more``: the value for a batch of FEW and of MORE images, tensors on the meta device.
    ``follows_images``: whether the content of a tensor in it depends on the images, and not only on their number.
    ``memory``: the storages that its tensors lie in; ``writes``: those that it writes to, other than its own new ones.
    ``random``: whether it draws random numbers. ``cheap``: whether it multiplies no matrices.
    """

    name: str
    few: Any
    more: Any
    follows_images: bool
    memory: frozenset[int]
    writes: frozenset[int]
    random: bool
    cheap: bool

    @property
    def is_tensor(self) -> bool:
        """Whether the value is one tensor."""
        return isinstance(self.few, torch.Tensor)

    @property
    def holds_tensors(self) -> bool:
        """Whether the value is a tensor or a container with at least one."""
        return bool(_tensors(self.few))


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of a network in the modes that its layers have now, sharing its layers and parameters.

    Its one placeholder are normalized images (N, 3, S, S). Raises whatever tracing raises for a network whose course
    depends on its data.
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
    """Layers come out with the attributes that they went in with: fx puts constants on a network, under numbers that
    would go on with the next trace, and some layers remember what they made for the last size."""
    kept = [(layer, dict(vars(layer))) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, attributes in kept:
            vars(layer).clear()
            vars(layer).update(attributes)


def observe(traced: fx.GraphModule, image_size: int) -> None:
    """Find out what each node of a graph does, for ``operation``: run it on the meta device."""
    few, more = (_run_without_data(traced, image_size, count) for count in (FEW, MORE))
    follows: set[fx.Node] = set(traced.graph.find_nodes(op="placeholder"))
    for node in traced.graph.nodes:
        if follows.intersection(node.all_input_nodes) and _tensors(few[node].few):
            follows.add(node)
        node.meta["operation"] = replace(few[node], more=more[node].few, follows_images=node in follows)


def operation(node: fx.Node) -> Operation:
    """What ``observe`` found out about a node."""
    return node.meta["operation"]


def text(graph_module: fx.GraphModule) -> str:
    """The same for the same operations in another process: one line per node, with the settings of its layer."""
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
    """Layers stay whole where what happens inside depends on their mode or on the data."""

    def __init__(self, module: nn.Module) -> None:
        timm = sys.modules.get("timm.layers")  # a network of timm's has brought it in already
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
        """Buffers are read when the graph runs, as parameters are; fx itself would keep what they held when traced."""
        name = self._named.get(id(attr_val))
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            sized = functools.partial(ParameterProxy, self, name=name, param=attr_val)  # its shape decides as it traces
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
    """Of a network's optional arguments fx keeps placeholders and assertions that they have their defaults."""
    _images, *options = graph.find_nodes(op="placeholder")
    for option in options:
        for assertion in list(option.users):
            for use in list(assertion.users):
                graph.erase_node(use)
            graph.erase_node(assertion)
        graph.erase_node(option)


def _run_without_data(traced: fx.GraphModule, image_size: int, count: int) -> dict[fx.Node, Operation]:
    """Every node's operation for ``count`` images on the meta device: nothing is computed, no state changes."""
    observed = _Observed(traced)
    state = {
        name: tensor.detach().to("meta")
        for name, tensor in itertools.chain(observed.named_parameters(), observed.named_buffers())
    }
    dtype = next(p.dtype for p in traced.parameters() if p.is_floating_point())
    images = torch.empty(count, 3, image_size, image_size, dtype=dtype, device="meta")
    with torch.no_grad(), _attributes_kept(traced):
        return torch.func.functional_call(observed, state, (images,))


class _Observed(nn.Module):
    """A module around the interpreter, since only a module's parameters can be put to the meta device for one call."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, images: torch.Tensor) -> dict[fx.Node, Operation]:
        with _Calls() as calls:
            observer = _Observer(self.traced, calls)
            observer.run(images)
        return observer.operations


class _Observer(fx.Interpreter):
    """Runs a graph and keeps what each node did."""

    def __init__(self, traced: fx.GraphModule, calls: _Calls) -> None:
        super().__init__(traced, garbage_collect_values=False)  # a storage that lives keeps its identity
        self.operations: dict[fx.Node, Operation] = {}
        self._calls = calls

    def run_node(self, n: fx.Node) -> Any:
        touched = list(self._touched(n))
        versions = [tensor._version for tensor in touched]
        self._calls.forget()
        value = super().run_node(n)
        written = [t for t, version in zip(touched, versions, strict=True) if t._version != version]
        self.operations[n] = Operation(
            name=n.meta["name"],
            few=value,
            more=None,
            follows_images=False,
            memory=frozenset(map(_storage, _tensors(value))),
            writes=frozenset(map(_storage, written)),
            random=self._calls.random,
            cheap=not self._calls.multiplications,
        )
        return value

    def _touched(self, node: fx.Node) -> Iterator[torch.Tensor]:
        for given in node.all_input_nodes:
            yield from _tensors(self.env[given])
        if node.op == "call_module":
            layer = self.fetch_attr(str(node.target))
            yield from layer.parameters()
            yield from layer.buffers()


class _Calls(TorchDispatchMode):
    """What PyTorch was asked to do since ``forget``."""

    random = False
    multiplications = False

    def forget(self) -> None:
        self.random = self.multiplications = False

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
            # Fused attention has dropout built in: it draws nothing where its probability is zero, the default.
            self.random |= "attention" not in str(func) or given.get("dropout_p", 0.0) > 0
        self.multiplications |= func._overloadpacket in flop_registry
        return func(*args, **kwargs)


def _tensors(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
