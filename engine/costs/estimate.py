"""Estimates time and memory of a freeze plan from a measured profile of its network. Imports no torch.

The plan splits the network as ``engine.models.cut`` does:

- The frozen prefix runs once for each image. Its features are cached.
- The trainable suffix runs forward in every epoch, and backward down to the first trainable parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import msgspec

from engine.config.freeze_rules import Decision, decide, module_facts, training_modes
from engine.config.layer_tree import LayerTree
from engine.config.optimizers import OPTIMIZERS
from engine.config.schema import RunConfig
from engine.data.augmented_views import Views
from engine.models.boundary import Node, choose_boundary

# Memory of the frozen prefix as a multiple of its largest output: input, output, their copies in the kernels' layouts,
# and the allocator's reserve. Measured: resnet18 6.3, efficientnet_lite0 8.7.
_PREFIX_MEMORY_FACTOR = 7
# Bytes per trainable parameter besides its value: gradient, initial value, and copy for the checkpoint being written.
_TRAINABLE_BYTES = 12
_MOMENT_BYTES = 8  # per optimizer moment or average of a parameter: itself, and its copy for the checkpoint


class Operation(msgspec.Struct, frozen=True):
    """One operation of a network, in seconds and bytes per image.

    - ``layer``: path of the layer that it is, or runs in.
    - ``parameters``: names of those that it reads itself.
    - ``inputs``: positions of earlier operations.
    - ``statistics``: it keeps batch statistics.
    - ``random``: it draws random numbers in training.
    - ``repeatable``: it is safe and cheap to recompute in every epoch.
    - ``view``: its output shares the memory of its inputs.
    - ``returned``: the network returns its output.
    - ``output``: scalars per image, 0 where they do not depend on the images, None for several tensors.
    - ``row``: bytes of its output in a cache.

    Seconds:

    - ``once``: forward in the frozen prefix.
    - ``evaluate``: forward in evaluation.
    - ``forward``: forward in training.
    - ``through``: backward to its inputs.
    - ``weights``: backward to its parameters, in addition.

    Bytes saved for backward: ``kept`` where it is trainable, ``kept_frozen`` where gradients only pass through.
    """

    name: str
    layer: str
    parameters: list[str]
    inputs: list[int]
    statistics: bool
    random: bool
    repeatable: bool
    view: bool
    returned: bool
    output: int | None
    row: int
    once: float
    evaluate: float
    forward: float
    through: float
    weights: float
    kept: int
    kept_frozen: int


class LoopCosts(msgspec.Struct, frozen=True):
    """The engine's overhead around a network, in seconds.

    ``step`` and ``evaluation_step``: of one training and one validation step on cached features. ``epoch``: of the rest
    of an epoch. ``memory``: bytes of a process that trains a tiny network.
    """

    step: float
    evaluation_step: float
    epoch: float
    memory: int


class Profile(msgspec.Struct, frozen=True):
    """A network measured on one machine, in seconds and bytes.

    - ``images``: batch size of the measurement.
    - ``chunk``: batch size of the frozen prefix.
    - ``optimizer_tensor``, ``optimizer_value``: seconds of an optimizer step per trainable tensor and scalar.
    - ``image``: seconds to load an image into a batch.
    - ``row_byte``: seconds to load a byte of cached features into a batch.
    - ``digest_byte``: seconds to verify that a byte is frozen.
    """

    device: str
    precision: str
    frozen_precision: str
    images: int
    chunk: int
    operations: list[Operation]
    loop: LoopCosts
    optimizer_tensor: float
    optimizer_value: float
    image: float
    row_byte: float
    digest_byte: float


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a freeze plan.

    - ``first_epoch_seconds``: of the first epoch, with an empty cache.
    - ``epoch_seconds``: from the end of one epoch to the end of the next, once all features are cached.
    - ``memory_bytes``: the engine's peak memory; the device's, where it has its own.
    - ``cached_bytes``: size of the cached features.
    - ``mixing_seconds``: of ``epoch_seconds``, those for frozen layers on mixed images, which can't be cached.
    """

    first_epoch_seconds: float
    epoch_seconds: float
    memory_bytes: int
    cached_bytes: int
    mixing_seconds: float = 0.0


def estimate(profile: Profile, tree: LayerTree, config: RunConfig, images: Mapping[str, int]) -> Estimate:
    """Estimate the cost of training with ``config``.

    ``images``: the number in "train" and "val". Raises InputError for a plan that can't be used.
    """
    plan = read_plan(profile.operations, tree, config)
    sizes = tree.parameter_sizes
    trained = [size for name, size in sizes.items() if plan.decisions[name].trainable]
    frozen_bytes = 4 * (sum(sizes.values()) - sum(trained))
    train, val, batch = images["train"], images["val"], config.train.batch_size
    row = sum(profile.operations[at].row for at in plan.cached)
    ready = row * profile.row_byte if plan.prefix else profile.image

    once, evaluation, training = _seconds(profile.operations, plan)
    step = profile.loop.step + profile.optimizer_tensor * len(trained) + profile.optimizer_value * sum(trained)
    epoch = (
        ceil(train / batch) * step
        + ceil(val / batch) * profile.loop.evaluation_step
        + train * (ready + training)
        + val * (ready + evaluation)
        + profile.loop.epoch
        + frozen_bytes * profile.digest_byte
    )
    mixes = bool(plan.prefix and config.train.mixes)
    mixing = train * (profile.image + once - ready) if mixes else 0.0
    views = 0 if mixes else Views.of(config.data.augment, config.data.views, 0).count
    cached = row * (train * views + val)
    memory = profile.loop.memory if profile.device == "cpu" else 0
    memory += 4 * sum(sizes.values()) + _trainable_bytes(config) * sum(trained)
    memory += frozen_bytes * bool(plan.prefix)  # the frozen prefix is a copy with batch norms folded
    memory += _activations(profile, plan, batch) + cached
    return Estimate(
        first_epoch_seconds=epoch
        + mixing
        + ((train * (not mixes) + val) * (profile.image + once) if plan.prefix else 0.0),
        epoch_seconds=epoch + mixing,
        memory_bytes=memory,
        cached_bytes=cached,
        mixing_seconds=mixing,
    )


def _trainable_bytes(config: RunConfig) -> int:
    copies = OPTIMIZERS[config.optimizer.name].state_tensors(config.optimizer.momentum) + bool(config.train.ema)
    return _TRAINABLE_BYTES + _MOMENT_BYTES * copies


def _seconds(operations: Sequence[Operation], plan: Plan) -> tuple[float, float, float]:
    """Seconds per image: of the frozen prefix, and of the rest in evaluation and in training."""
    once = evaluation = training = 0.0
    for at, operation in enumerate(operations):
        if at in plan.prefix:
            once += operation.once
            continue
        evaluation += operation.evaluate
        training += operation.forward if plan.modes[operation.layer] else operation.evaluate
        training += operation.weights if at in plan.trainable else 0.0
        training += operation.through if plan.requires_grad.intersection(operation.inputs) else 0.0
    return once, evaluation, training


def _activations(profile: Profile, plan: Plan, batch_size: int) -> int:
    """Bytes of activations, the larger of a training batch's and the frozen prefix's."""
    kept = largest_kept = largest_once = 0
    for at, operation in enumerate(profile.operations):
        if at in plan.prefix:
            largest_once = max(largest_once, operation.row)
        elif at in plan.requires_grad:
            kept += operation.kept if at in plan.trainable else operation.kept_frozen
            largest_kept = max(largest_kept, operation.kept)
    # The largest operation also holds the gradients of its input and output.
    return max(batch_size * (kept + 2 * largest_kept), profile.chunk * _PREFIX_MEMORY_FACTOR * largest_once)


@dataclass(frozen=True)
class Plan:
    """A freeze plan applied to a network's operations, by position.

    - ``modes``: which layers run in training mode.
    - ``trainable``: operations with trainable parameters.
    - ``requires_grad``: those, and all that depend on their outputs.
    - ``prefix``: the frozen prefix, computed once for each image.
    - ``cached``: operations of the prefix whose output is cached.
    """

    decisions: Mapping[str, Decision]
    modes: Mapping[str, bool]
    trainable: set[int]
    requires_grad: set[int]
    prefix: set[int]
    cached: set[int]


def read_plan(operations: Sequence[Operation], tree: LayerTree, config: RunConfig) -> Plan:
    """Apply the freeze plan in ``config`` to a network. Raises InputError for a plan that can't be used."""
    decisions = decide(config.freeze.rules, tree)
    modes = training_modes(module_facts(tree), decisions, config.freeze.norm_stats)
    trainable, requires_grad, prefix = set[int](), set[int](), set[int]()
    for at, operation in enumerate(operations):
        if any(decisions[name].trainable for name in operation.parameters):
            trainable.add(at)
        if at in trainable or requires_grad.intersection(operation.inputs):
            requires_grad.add(at)
        varies = modes[operation.layer] and (operation.statistics or operation.random)
        if not varies and at not in trainable and prefix.issuperset(operation.inputs):
            prefix.add(at)
    prefix, boundary = choose_boundary([_boundary_node(operation) for operation in operations], prefix)
    cached = set(boundary)
    if not any(operations[at].parameters and operations[at].output != 0 for at in prefix):
        prefix, cached = set(), set()  # nothing to cache but the image itself
    return Plan(decisions, modes, trainable, requires_grad, prefix, cached)


def _boundary_node(operation: Operation) -> Node:
    return Node(operation.inputs, operation.output, operation.repeatable, operation.view, operation.returned)
