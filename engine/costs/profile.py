"""Profiles a network on this machine for ``engine.costs.estimate``. Profiles are cached."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Container, Mapping

import torch
from torch import fx, nn

from engine.compute.loss import ClassCriterion, cross_entropy_sum
from engine.compute.precision import Precision
from engine.compute.precision_benchmark import choose_precision
from engine.compute.task import Outputs
from engine.config.schema import HeadConfig, OptimizerConfig, TrainConfig
from engine.costs import profile_cache
from engine.costs.estimate import LoopCosts, Operation, Profile
from engine.costs.loop_timing import measure_loop
from engine.costs.operation_timing import Costs, measure, now
from engine.data.loaders import Normalize
from engine.models import registry
from engine.models.cut import boundary_nodes, state_read
from engine.models.frozen_prefix import Prefix
from engine.models.layer_tree import keeps_batch_statistics
from engine.models.registry import Classifier
from engine.models.trace import observe, operation, trace
from engine.runs.progress import quiet
from engine.system import cpu, devices
from engine.training import optimizers
from engine.training.optimizers import Depth

_LONG_STEP = 1.5  # seconds; if a step takes longer, the measurement uses a smaller batch
_REPETITIONS = 3


def profile(
    name: str, classes: int, image_size: int, head: HeadConfig, train: TrainConfig, channels: int = 3
) -> Profile:
    """The profile of a network on this machine, with the precision and batch size of ``train``.

    Measures it unless it is cached. Raises InputError for a network that can't be built, and the tracer's errors for
    data-dependent control flow.
    """
    key = profile_cache.network(name, classes, image_size, head, train, channels)
    known = profile_cache.load(key, Profile)
    if known is None:
        cpu.set_up_processor()
        loop = profile_cache.load(profile_cache.loop(train), LoopCosts)
        if loop is None:
            loop = measure_loop(train.batch_size, train.device)
            profile_cache.store(profile_cache.loop(train), loop)
        precisions = choose_precision(train.precision, devices.choose_device(train.device), quiet)
        classifier = registry.build(name, classes, head, image_size, channels)
        known = measure_network(classifier, *precisions, train.batch_size, loop)
        profile_cache.store(key, known)
    return known


def measure_network(
    classifier: Classifier, precision: Precision, frozen_precision: Precision, batch_size: int, loop: LoopCosts
) -> Profile:
    """Measure a network on random images. Overwrites its gradients and batch statistics."""
    device = precision.device
    classifier.module.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    training, evaluation = (_traced(classifier, training=mode) for mode in (True, False))
    criterion = functools.partial(_loss, ClassCriterion(cross_entropy_sum, None, 0.0, classifier.aux_weight))

    def step(count: int, *, trains: bool) -> Costs:
        """Measure forward and backward. Unless it ``trains``, gradients only pass through frozen layers."""
        classifier.module.train(trains).requires_grad_(trains)
        inputs = _images(classifier, count, device).requires_grad_()
        return measure(training if trains else evaluation, inputs, precision.autocast(), criterion)

    classifier.module.eval()
    prefix = Prefix(evaluation, frozen_precision)
    assert isinstance(prefix.module, fx.GraphModule)
    count = _affordable(batch_size, lambda images: step(images, trains=True))
    trained, frozen, once = Costs(), Costs(), Costs()
    for _ in range(_REPETITIONS):
        trained = trained.least(step(count, trains=True))
        frozen = frozen.least(step(count, trains=False))
        with torch.inference_mode():
            inputs = _images(classifier, count, device)
            once = once.least(measure(prefix.module, inputs, frozen_precision.autocast()))
    classifier.module.requires_grad_(True)
    per_tensor, per_value = _optimizer_costs(classifier)
    return Profile(
        device=str(device),
        precision=precision.name,
        frozen_precision=frozen_precision.name,
        images=count,
        chunk=prefix.chunk,
        operations=_operations(classifier, training, trained, frozen, once, count),
        loop=loop,
        optimizer_tensor=per_tensor,
        optimizer_value=per_value,
        image=_image_cost(classifier, device, count),
        row_byte=_row_byte_cost(device, count),
        digest_byte=_digest_byte_cost(),
    )


def _affordable(most: int, step: Callable[[int], Costs]) -> int:
    """The batch size to measure with: that of training, or a smaller one where a step takes long."""
    step(2)  # warm-up
    count = 2
    while count < most:
        start = time.process_time()  # CPU time: load from other processes must not shrink the batch
        step(count)
        if (time.process_time() - start) / torch.get_num_threads() > _LONG_STEP / 2:
            break
        count = min(2 * count, most)
    return count


def _traced(classifier: Classifier, *, training: bool) -> fx.GraphModule:
    classifier.module.train(training)
    traced = trace(classifier.module)
    observe(traced, classifier.preprocessing.input_shape)
    return traced


def _images(classifier: Classifier, count: int, device: torch.device) -> torch.Tensor:
    return torch.randn(count, *classifier.preprocessing.input_shape, device=device).to(
        memory_format=torch.channels_last
    )


def _loss(criterion: ClassCriterion, outputs: Outputs) -> torch.Tensor:
    count = len(outputs if isinstance(outputs, torch.Tensor) else outputs[0])
    device = (outputs if isinstance(outputs, torch.Tensor) else outputs[0]).device
    return criterion(outputs, torch.zeros(count, dtype=torch.int64, device=device))


def _operations(
    classifier: Classifier, traced: fx.GraphModule, trained: Costs, frozen: Costs, once: Costs, count: int
) -> list[Operation]:
    names = {id(parameter): name for name, parameter in classifier.module.named_parameters()}
    layers = dict(classifier.module.named_modules())
    place: dict[fx.Node, int] = {}
    found: list[Operation] = []
    for node, cut_node in zip(traced.graph.nodes, boundary_nodes(traced.graph), strict=True):
        op = operation(node)
        if not op.holds_tensors or node.op == "output":
            continue
        layer = str(node.target) if node.op == "call_module" else _innermost(op.name, layers)
        inputs = [given for given in node.all_input_nodes if given in place]
        place[node] = len(found)
        through = frozen.backward.get(op.name, 0.0)
        found.append(
            Operation(
                name=op.name,
                layer=layer,
                parameters=[names[id(tensor)] for tensor in state_read(traced, node) if id(tensor) in names],
                inputs=[place[given] for given in inputs],
                statistics=node.op == "call_module" and keeps_batch_statistics(layers[layer]),
                random=op.random,
                repeatable=cut_node.repeatable,
                view=cut_node.view,
                returned=cut_node.returned,
                output=cut_node.output_size,
                row=once.output.get(op.name, 0) // count,
                once=once.forward.get(op.name, 0.0) / count,
                evaluate=frozen.forward.get(op.name, 0.0) / count,
                forward=trained.forward.get(op.name, 0.0) / count,
                through=through / count,
                weights=max(trained.backward.get(op.name, 0.0) - through, 0.0) / count,
                kept=trained.kept.get(op.name, 0) // count,
                kept_frozen=frozen.kept.get(op.name, 0) // count,
            )
        )
    return found


def _innermost(name: str, layers: Container[str]) -> str:
    """The path of the innermost layer that an operation belongs to."""
    while name not in layers:
        name = name.rpartition(".")[0]
    return name


def _optimizer_costs(classifier: Classifier) -> tuple[float, float]:
    """Seconds of an optimizer step with gradient clipping, per tensor and per scalar."""
    everything = dict(classifier.module.named_parameters())
    head = {name: p for name, p in everything.items() if name.startswith(f"{classifier.head[0]}.")}
    flat = {name: p for name, p in everything.items() if p.ndim == 1} | head
    where = optimizers.parameter_depths(classifier)
    few, many, all_values = (_optimizer_step(chosen, where) for chosen in (head, flat, everything))
    per_tensor = max(many - few, 0.0) / max(len(flat) - len(head), 1)
    rest = max(all_values - few - (len(everything) - len(head)) * per_tensor, 0.0)
    return per_tensor, rest / sum(p.numel() for p in everything.values())


def _optimizer_step(parameters: dict[str, nn.Parameter], where: Mapping[str, Depth]) -> float:
    optimizer = optimizers.build(OptimizerConfig(), parameters, where)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)

    def step() -> None:
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()

    seconds = _least(step, next(iter(parameters.values())).device)
    for parameter in parameters.values():
        parameter.grad = None
    return seconds


def _image_cost(classifier: Classifier, device: torch.device, count: int) -> float:
    """Seconds to collate and normalize an image."""
    channels, side, _ = classifier.preprocessing.input_shape
    normalize = Normalize(classifier.preprocessing, device)
    images = [torch.zeros(side, side, channels, dtype=torch.uint8).permute(2, 0, 1) for _ in range(count)]
    return _least(lambda: normalize(torch.stack(images)), device) / count


def _row_byte_cost(device: torch.device, count: int) -> float:
    """Seconds to load a byte of cached features into a batch."""
    rows = torch.zeros(8 * count, 16384, device=device)
    chosen = torch.arange(0, len(rows), 8, device=device)
    return _least(lambda: rows.index_select(0, chosen), device) / (count * 16384 * 4)


def _digest_byte_cost() -> float:
    """Seconds to hash a byte of a frozen tensor."""
    content = bytes(1 << 25)
    return _least(lambda: hashlib.sha256(content), torch.device("cpu")) / len(content)


def _least(work: Callable[[], object], device: torch.device) -> float:
    seconds = math.inf
    for _ in range(_REPETITIONS):
        start = now(device)
        work()
        seconds = min(seconds, now(device) - start)
    return seconds
