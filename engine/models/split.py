"""The split: what frozen layers compute once for each image, and what trains on it in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from engine.errors import first_line
from engine.models.cut import CannotCut, boundary, computed_once, part, row_shape, state_read
from engine.models.freezing import Freezing
from engine.models.registry import Classifier
from engine.models.trace import IMAGE, observe, operation, text, trace
from engine.rng import same_randomness


@dataclass(frozen=True)
class BoundaryTensor:
    """One tensor that is kept of each image: ``shape`` is one image's, without the batch dimension; ``name`` is
    the path of the layer that gives it, where it is one layer's whole output."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Cut:
    """How a traced network was cut: the operations computed ``once``, and the tensors between them and the others."""

    traced: fx.GraphModule
    once: set[fx.Node]
    boundary: list[fx.Node]


@dataclass(frozen=True)
class Split:
    """A network under a freeze plan, in two parts that share its layers and parameters.

    ``kind``: "graph", cut through its graph; "head", at its classifier's input; "none", not at all: the boundary is
    the normalized image. ``label``: the last layer computed once.
    ``prefix``: normalized images (N, 3, S, S) → a tuple of tensors (N, …), one for each of ``boundary``. For "graph"
    it is an fx.GraphModule.
    ``suffix_train``, ``suffix_eval``: those tensors → what the whole network returns in training and in evaluation.
    They leave what they are given as it is.
    ``prefix_state``: every parameter, buffer and traced constant that the prefix reads, by the network's own name;
    ``code``: what it computes with them, the same text in every process.
    ``why``: a sentence on why the network is cut worse than its plan allows, else "".

    Layers keep the mode that they have in the network: set it there (``Freezing.train_mode``, ``module.eval``), never
    through these parts. A network that is moved to another device has to be split again.
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


def split(classifier: Classifier, freezing: Freezing) -> Split:
    """Cut a network as its freeze plan allows, and leave its layers in the modes of training.

    Two random images prove each cut, in training and in evaluation; one that fails gives way to the next worse kind.
    Neither the state of the network nor that of random number generators changes.
    """
    try:
        with same_randomness(_like(classifier).device):
            return _first_that_works(classifier, freezing)
    finally:
        freezing.train_mode()


def _first_that_works(classifier: Classifier, freezing: Freezing) -> Split:
    try:
        found = _split_graph(classifier, freezing)
        _prove(found, classifier, freezing)
        return found
    except Exception as error:  # tracing runs a network's own code on proxies, which may fail in any way
        reason = f"{classifier.name} can't be cut through its graph: {first_line(error)}"
    try:
        found = _split_at_head(classifier, freezing, reason)
        _prove(found, classifier, freezing)
        return found
    except CannotCut as error:
        return _unsplit(classifier, f"{reason}; nor at its head: {error}")


def bridge(old: Split, new: Split) -> nn.Module | None:
    """The old boundary's rows → the new one's, where the new prefix contains the old one; else None.

    Rows are right if the old prefix's state is still what they were computed with.
    """
    if old.kind == "none":
        return new.prefix
    if old.cut is None or new.cut is None:
        return None
    here = {operation(node).name: node for node in new.cut.once}
    start = [here.get(tensor.name) for tensor in old.boundary]
    traced = new.cut.traced
    try:
        graph = part(traced.graph, start, new.cut.boundary, once=_names(new.cut.once), done=_names(old.cut.once))
    except CannotCut:
        return None
    return fx.GraphModule(traced, graph)


def _split_graph(classifier: Classifier, freezing: Freezing) -> Split:
    """Raises whatever tracing raises, and CannotCut."""
    module = classifier.module
    names = {id(tensor): name for name, tensor in reversed(_tensors(module))}
    fixed = _fixed(module, freezing)
    freezing.train_mode()
    traced = trace(module)
    observe(traced, classifier.preprocessing.image_size)
    constants = {id(tensor) for tensor in traced.buffers()} - names.keys()
    once = computed_once(traced, fixed | constants)
    stored = boundary(traced.graph, once)

    images = traced.graph.find_nodes(op="placeholder")
    prefix = fx.GraphModule(traced, part(traced.graph, images, stored, once=_names(once), done=set()))
    state = {
        names.get(id(tensor), str(node.target)): tensor.detach()
        for node in prefix.graph.nodes
        for tensor in state_read(prefix, node)
    }
    if not state:
        return _unsplit(classifier, "")
    suffix_train = suffix_eval = _suffix(traced, stored, once)
    module.eval()
    evaluated = trace(module)
    if text(evaluated) != text(traced):
        observe(evaluated, classifier.preprocessing.image_size)
        suffix_eval = _suffix(evaluated, stored, once)
    return Split(
        kind="graph",
        boundary=tuple(BoundaryTensor(operation(n).name, row_shape(n), operation(n).few.dtype) for n in stored),
        label=_last_layer(stored[-1], module),
        prefix=prefix,
        suffix_train=suffix_train,
        suffix_eval=suffix_eval,
        prefix_state=state,
        code=text(prefix),
        why="",
        cut=Cut(traced, once, stored),
    )


def _suffix(traced: fx.GraphModule, stored: Sequence[fx.Node], once: set[fx.Node]) -> fx.GraphModule:
    """``traced`` may be another graph of the same network; auxiliary heads are missing in that of evaluation."""
    here = {operation(node).name: node for node in traced.graph.nodes}
    start = [here.get(operation(node).name) for node in stored]
    return fx.GraphModule(traced, part(traced.graph, start, None, once=None, done=_names(once)))


def _names(nodes: Iterable[fx.Node]) -> set[str]:
    return {operation(node).name for node in nodes}


def _last_layer(node: fx.Node, module: nn.Module) -> str:
    """The path of the layer that a node is the output of, or else of the layer before it."""
    paths = {path for path, _ in module.named_modules()}
    while operation(node).name not in paths:
        if node.op == "placeholder":
            return IMAGE
        *_, node = [given for given in node.all_input_nodes if operation(given).follows_images]
    return operation(node).name


def _split_at_head(classifier: Classifier, freezing: Freezing, why: str) -> Split:
    """Raises CannotCut where more than the head trains, or the head has no input of its own."""
    module, (head, *auxiliary) = classifier.module, classifier.head
    backbone = {name: tensor for name, tensor in _tensors(module) if not name.startswith(f"{head}.")}
    if auxiliary or not _fixed(module, freezing).issuperset(map(id, backbone.values())):
        raise CannotCut("more than its one head trains")
    freezing.train_mode()
    prefix = _Backbone(module, head)
    with torch.no_grad():
        (rows,) = prefix(_random_images(classifier, 2))
    label = f"input of {head}"
    return Split(
        kind="head",
        boundary=(BoundaryTensor(label, tuple(rows.shape[1:]), rows.dtype),),
        label=label,
        prefix=prefix,
        suffix_train=module.get_submodule(head),
        suffix_eval=module.get_submodule(head),
        prefix_state={name: tensor.detach() for name, tensor in backbone.items()},
        code=f"{label} of {module!r}",
        why=why,
    )


def _tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers, by every name that they have."""
    return [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]


def _fixed(module: nn.Module, freezing: Freezing) -> set[int]:
    """The identities of the network's tensors that must not move."""
    frozen = freezing.frozen()
    return {id(tensor) for name, tensor in _tensors(module) if name in frozen}


class _Backbone(nn.Module):
    """A network up to its head's input."""

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Raises CannotCut where the head does not run exactly once on one tensor with a row per image."""
        inputs: list[tuple[Any, ...]] = []
        hook = self.network.get_submodule(self.head).register_forward_pre_hook(lambda _, given: inputs.append(given))
        try:
            self.network(images)
        finally:
            hook.remove()
        match inputs:
            case [(torch.Tensor() as rows,)] if len(rows) == len(images):
                return (rows,)
        raise CannotCut(f"{self.head} takes no row per image")


def _unsplit(classifier: Classifier, why: str) -> Split:
    size = classifier.preprocessing.image_size
    return Split(
        kind="none",
        boundary=(BoundaryTensor(IMAGE, (3, size, size), _like(classifier).dtype),),
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
        """(N, 3, S, S) → the same"""
        return (images,)


def _prove(found: Split, classifier: Classifier, freezing: Freezing) -> None:
    """Raises CannotCut unless both parts give what the whole network gives, and rows depend on their image alone."""
    if found.kind == "none":
        return
    first, second, third = _random_images(classifier, 3).split(1)
    images = torch.cat([first, second])
    classifier.module.eval()
    with_another = _run(found.prefix, torch.cat([third, first]))
    freezing.train_mode()
    rows = _run(found.prefix, images)
    if not all(_close(a[0], b[1]) for a, b in zip(rows, with_another, strict=True)):
        raise CannotCut("what it computes of an image depends on the other images of a batch")
    for mode, suffix in (("training", found.suffix_train), ("evaluation", found.suffix_eval)):
        whole, parts = _run(classifier.module, images), _run(suffix, *rows)
        if len(whole) != len(parts) or not all(map(_close, parts, whole)):
            raise CannotCut(f"its parts and the whole disagree in {mode}")
        classifier.module.eval()


def _run(module: nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """What a module gives, always with the same random numbers and without a change of its buffers."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad():
        _seed(inputs[0].device)
        return pytree.tree_leaves(torch.func.functional_call(module, buffers, inputs))


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal up to half of the digits that the type has, as seen from the largest value."""
    if ours.shape != theirs.shape or not theirs.is_floating_point():
        return torch.equal(ours, theirs)
    scale = theirs.nan_to_num().abs().max().item()
    tolerance = torch.finfo(theirs.dtype).eps ** 0.5 * scale
    return torch.allclose(ours, theirs, rtol=0.0, atol=tolerance, equal_nan=True)


def _random_images(classifier: Classifier, count: int) -> torch.Tensor:
    size, like = classifier.preprocessing.image_size, _like(classifier)
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(like)


def _like(classifier: Classifier) -> torch.Tensor:
    return next(p for p in classifier.module.parameters() if p.is_floating_point())


def _seed(device: torch.device) -> None:
    torch.default_generator.manual_seed(0)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(0)
