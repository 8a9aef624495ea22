"""What a freeze plan will cost, from a measured profile of its network. Imports no torch.

The plan divides the network as ``engine.models.cut`` does: what frozen weights alone decide runs once for each
image and is cached; the rest runs in every epoch, and backward as far as anything before it, or in it, trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import msgspec

from engine.config.freeze_rules import Decision, decide, module_facts, training_modes
from engine.config.layer_tree import LayerTree
from engine.config.optimizers import OPTIMIZERS
from engine.config.schema import OptimizerConfig, RunConfig
from engine.data.augmented_views import Views
from engine.models.boundary import Node, choose_boundary

# How many times the largest output frozen layers take to compute: input and output, copies of them in the layouts that
# the libraries' kernels want, and what the allocator keeps. Found with resnet18 (6.3) and efficientnet_lite0 (8.7).
_ROOM_TO_COMPUTE = 7
# Bytes that a trainable parameter has beside itself: its gradient, its value at the start and its copy for the
# checkpoint that is being written; and each of its optimizer's moments, which are copied for that, too.
_TRAINABLE_BYTES = 12
_MOMENT_BYTES = 8


class Operation(msgspec.Struct, frozen=True):
    """One operation of a network, in seconds and bytes for each image; ``inputs`` are positions of earlier ones.

    ``layer``: path of the layer that it is or runs in; ``parameters``: names of those that it reads itself.
    ``statistics``: it keeps batch statistics; ``random``: it draws random numbers in training; ``repeatable``: doing it
    again in every epoch is safe and cheap; ``view``: its output shares the memory of its inputs; ``returned``: the
    network returns its output. ``output``: scalars
    that it gives for an image, 0 where they do not follow the images, None where it gives several tensors; ``row``:
    their bytes in a cache.

    ``once``: forward where it is computed once; ``evaluate``: in evaluation; ``forward``: in training; ``through``:
    backward to its inputs; ``weights``: backward to its parameters, in addition. ``kept``: bytes that it keeps for the
    backward pass where it trains, ``kept_frozen``: where gradients only pass through it.
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
    """What the engine itself takes around a network, in seconds: a step of training and of validation, which gives
    cached rows to the network, and the rest of an epoch. ``memory``: bytes of a process that trains next to nothing."""

    step: float
    evaluation_step: float
    epoch: float
    memory: int


class Profile(msgspec.Struct, frozen=True):
    """A network measured on one machine, in seconds and bytes.

    ``images``: how many were measured at once; ``chunk``: how many go through frozen layers at once.
    ``optimizer_tensor`` and ``optimizer_value``: of a training step for each tensor and each scalar that trains;
    ``image``: to get one ready; ``row_byte``: to get a byte of a cached row ready; ``digest_byte``: to prove that a
    byte is frozen.
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
    """What a plan costs.

    ``epoch_seconds``: from the end of an epoch to that of the next, once everything is cached; ``first_epoch_seconds``:
    of the first epoch, if nothing is cached yet. ``memory_bytes``: the most that the engine takes, of the device's
    memory where that is its own. ``cached_bytes``: what is cached of frozen layers.
    """

    first_epoch_seconds: float
    epoch_seconds: float
    memory_bytes: int
    cached_bytes: int


def estimate(profile: Profile, tree: LayerTree, config: RunConfig, images: Mapping[str, int]) -> Estimate:
    """Reckon what training as ``config`` says will cost.

    ``images``: how many there are in "train" and "val". Raises InputError for a plan that can't be used.
    """
    plan = read_plan(profile.operations, tree, config)
    sizes = tree.parameter_sizes
    trained = [size for name, size in sizes.items() if plan.decisions[name].trainable]
    frozen_bytes = 4 * (sum(sizes.values()) - sum(trained))
    train, val, batch = images["train"], images["val"], config.train.batch_size
    row = sum(profile.operations[at].row for at in plan.stored)
    ready = row * profile.row_byte if plan.once else profile.image

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
    cached = row * (train * Views.of(config.data.augment, config.data.views, 0).count + val)
    memory = profile.loop.memory if profile.device == "cpu" else 0
    memory += 4 * sum(sizes.values()) + _trainable_bytes(config.optimizer) * sum(trained)
    memory += frozen_bytes * bool(plan.once)  # frozen layers compute with a copy, batch norms folded
    memory += _activations(profile, plan, batch) + cached
    return Estimate(
        first_epoch_seconds=epoch + ((train + val) * (profile.image + once) if plan.once else 0.0),
        epoch_seconds=epoch,
        memory_bytes=memory,
        cached_bytes=cached,
    )


def _trainable_bytes(config: OptimizerConfig) -> int:
    return _TRAINABLE_BYTES + _MOMENT_BYTES * OPTIMIZERS[config.name].state_tensors(config.momentum)


def _seconds(operations: Sequence[Operation], plan: Plan) -> tuple[float, float, float]:
    """For each image what is computed once takes, and the rest in evaluation and in training."""
    once = evaluation = training = 0.0
    for at, does in enumerate(operations):
        if at in plan.once:
            once += does.once
            continue
        evaluation += does.evaluate
        training += does.forward if plan.modes[does.layer] else does.evaluate
        training += does.weights if at in plan.trains else 0.0
        training += does.through if plan.follows_training.intersection(does.inputs) else 0.0
    return once, evaluation, training


def _activations(profile: Profile, plan: Plan, batch_size: int) -> int:
    """Bytes while a batch trains, or while frozen layers compute, whichever is more."""
    kept = largest_kept = largest_once = 0
    for at, does in enumerate(profile.operations):
        if at in plan.once:
            largest_once = max(largest_once, does.row)
        elif at in plan.follows_training:
            kept += does.kept if at in plan.trains else does.kept_frozen
            largest_kept = max(largest_kept, does.kept)
    # The largest operation also has the gradients of its input and output.
    return max(batch_size * (kept + 2 * largest_kept), profile.chunk * _ROOM_TO_COMPUTE * largest_once)


@dataclass(frozen=True)
class Plan:
    """A freeze plan on a network's operations, by their positions.

    ``trains``: those with parameters that train; ``follows_training``: those, and all whose input changes with them;
    ``once``: those computed once for each image; ``stored``: those among them whose output is cached. ``modes``:
    which layers run in training mode.
    """

    decisions: Mapping[str, Decision]
    modes: Mapping[str, bool]
    trains: set[int]
    follows_training: set[int]
    once: set[int]
    stored: set[int]


def read_plan(operations: Sequence[Operation], tree: LayerTree, config: RunConfig) -> Plan:
    """What the plan in ``config`` makes of a network. Raises InputError for a plan that can't be used."""
    decisions = decide(config.freeze.rules, tree)
    modes = training_modes(module_facts(tree), decisions, config.freeze.norm_stats)
    trains, follows, once = set[int](), set[int](), set[int]()
    for at, does in enumerate(operations):
        if any(decisions[name].trainable for name in does.parameters):
            trains.add(at)
        if at in trains or follows.intersection(does.inputs):
            follows.add(at)
        varies = modes[does.layer] and (does.statistics or does.random)
        if not varies and at not in trains and once.issuperset(does.inputs):
            once.add(at)
    once, cached = choose_boundary([_boundary_node(does) for does in operations], once)
    stored = set(cached)
    if not any(operations[at].parameters and operations[at].output != 0 for at in once):
        once, stored = set(), set()  # what is left is the image itself
    return Plan(decisions, modes, trains, follows, once, stored)


def _boundary_node(does: Operation) -> Node:
    return Node(does.inputs, does.output, does.repeatable, does.view, does.returned)
