"""Optimizers over the trainable parameters alone, with their state kept by parameter name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from engine.config.choices import load_target
from engine.config.optimizers import OPTIMIZERS
from engine.config.schema import OptimizerConfig
from engine.models.layer_tree import stages
from engine.models.registry import Classifier

# What an optimizer remembers of each parameter (moments, step count), by the parameter's name.
NamedState = dict[str, dict[str, Any]]

_FUSED = ("cpu", "cuda")  # device types on which fused optimizers can be told to skip a step


@dataclass(frozen=True)
class Depth:
    """Where a parameter lies: ``group`` names its learning rate, ``distance`` counts stages from the head, 0 is it."""

    group: str
    distance: int


def depths(classifier: Classifier) -> dict[str, Depth]:
    """The depth of every parameter; what belongs to no stage (class tokens, position embeddings) counts as the stem."""
    stage_list = stages(classifier.module, classifier.head)
    found: dict[str, Depth] = {}
    for name, _ in classifier.module.named_parameters():
        if _below(name, classifier.head):
            found[name] = Depth("head", 0)
            continue
        at = next((i for i, (_, paths) in enumerate(stage_list) if _below(name, paths)), 0)
        found[name] = Depth(stage_list[at][0] if stage_list else "backbone", len(stage_list) - at)
    return found


def _below(name: str, paths: list[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def build(config: OptimizerConfig, trainable: Mapping[str, nn.Parameter], where: Mapping[str, Depth]) -> Optimizer:
    """The optimizer over ``trainable``, in groups by depth and weight decay.

    Each group carries ``depth`` (the name of its rate), ``factor`` (times the head's rate gives its own) and ``names``
    (of its parameters). Biases and normalization weights, all of one dimension, are not decayed.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in trainable.items():
        depth, decays = where[name], parameter.ndim > 1
        label = depth.group if depth.distance == 0 or config.layer_decay < 1 else "backbone"
        group = groups.setdefault(
            (label, decays),
            {
                "params": [],
                "names": [],
                "depth": label,
                "factor": rate_factor(config, depth.distance),
                "weight_decay": config.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return _make(config, list(groups.values()))


def rate_factor(config: OptimizerConfig, distance: int) -> float:
    """A layer's learning rate over the head's.

    Layer decay as in ELECTRA (Clark et al. 2020, 2003.10555): a factor for each stage away from the head.
    """
    return 1.0 if distance == 0 else config.backbone_lr_factor * config.layer_decay ** (distance - 1)


def _make(config: OptimizerConfig, groups: list[dict[str, Any]]) -> Optimizer:
    fused = all(p.device.type in _FUSED and p.is_floating_point() for group in groups for p in group["params"])
    entry = OPTIMIZERS[config.name]
    settings: dict[str, Any] = {name: getattr(config, name) for name in entry.settings}
    if entry.has_fused:
        settings["fused"] = fused
    return load_target(entry.torch_class)(groups, lr=config.lr, **settings)


def is_fused(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step is one kernel, which can also skip itself."""
    return bool(optimizer.defaults.get("fused"))


def step_if(optimizer: Optimizer, wanted: torch.Tensor) -> None:
    """Step, with a fused optimizer, if ``wanted`` (a bool scalar on the device) is true, without asking the device.

    It is told as torch.amp.GradScaler tells it.
    """
    optimizer.found_inf = (~wanted).float()  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    del optimizer.found_inf  # pyright: ignore[reportAttributeAccessIssue]


def set_rates(optimizer: Optimizer, config: OptimizerConfig, factor: float, where: Mapping[str, Depth]) -> None:
    """Give each group its learning rate for the next step; ``factor`` is the schedule's."""
    for group in optimizer.param_groups:
        group["factor"] = rate_factor(config, where[group["names"][0]].distance)
        group["lr"] = config.lr * group["factor"] * factor


def rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of each depth."""
    return {group["depth"]: group["lr"] for group in optimizer.param_groups}


def named_state(optimizer: Optimizer) -> NamedState:
    """What the optimizer remembers, by parameter name."""
    return {
        name: dict(optimizer.state[parameter])
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if parameter in optimizer.state
    }


def copied(state: NamedState) -> NamedState:
    """The same in memory of its own."""
    return {
        name: {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in values.items()}
        for name, values in state.items()
    }


def restore_state(optimizer: Optimizer, state: NamedState) -> None:
    """Give each parameter back what was remembered of it; one without an entry starts fresh."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in state:
                optimizer.state[parameter] = {
                    key: _where_it_is_needed(optimizer, key, value, parameter) for key, value in state[name].items()
                }


def _where_it_is_needed(optimizer: Optimizer, key: str, value: Any, parameter: nn.Parameter) -> Any:  # noqa: ANN401
    """State lies beside its parameter and in the same order of memory, which fused kernels take for granted; but the
    count of steps stays on the host unless a kernel reads it."""
    if not isinstance(value, torch.Tensor) or (key == "step" and not is_fused(optimizer)):
        return value
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
