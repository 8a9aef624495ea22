"""Optimizers over the trainable parameters, with their state by parameter name."""

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

# Optimizer state (moments, step count) by parameter name.
NamedState = dict[str, dict[str, Any]]

_FUSED = ("cpu", "cuda")  # device types on which fused optimizers can skip a step


@dataclass(frozen=True)
class Depth:
    """A parameter's position: ``group`` names its learning rate, ``distance`` counts stages from the head (0)."""

    group: str
    distance: int


def parameter_depths(classifier: Classifier) -> dict[str, Depth]:
    """The depth of every parameter. Those in no stage (class tokens, position embeddings) count as the stem's."""
    stage_list = stages(classifier.module, classifier.head)
    found: dict[str, Depth] = {}
    for name, _ in classifier.module.named_parameters():
        if _is_in(name, classifier.head):
            found[name] = Depth("head", 0)
            continue
        at = next((i for i, (_, paths) in enumerate(stage_list) if _is_in(name, paths)), 0)
        found[name] = Depth(stage_list[at][0] if stage_list else "backbone", len(stage_list) - at)
    return found


def _is_in(name: str, paths: list[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def build(
    config: OptimizerConfig,
    trainable: Mapping[str, nn.Parameter],
    depths: Mapping[str, Depth],
    *,
    backbone_decay: bool = True,
) -> Optimizer:
    """Build the optimizer over ``trainable``, with parameter groups by depth and weight decay.

    Each group has ``depth`` (the name of its learning rate), ``factor`` (its rate relative to the head's) and ``names``
    (of its parameters). Biases and normalization weights, which have one dimension, have no weight decay;
    without ``backbone_decay`` the backbone has none.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in trainable.items():
        depth = depths[name]
        decays = parameter.ndim > 1 and (backbone_decay or depth.distance == 0)
        label = depth.group if depth.distance == 0 or config.layer_decay < 1 else "backbone"
        group = groups.setdefault(
            (label, decays),
            {
                "params": [],
                "names": [],
                "depth": label,
                "factor": lr_factor(config, depth.distance),
                "weight_decay": config.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return _make(config, list(groups.values()))


def lr_factor(config: OptimizerConfig, distance: int) -> float:
    """The learning rate of a stage relative to the head's.

    Layer decay as in ELECTRA (Clark et al. 2020, 2003.10555): one factor for each stage away from the head.
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
    """Whether the optimizer's step is one fused kernel, which can skip itself."""
    return bool(optimizer.defaults.get("fused"))


def step_if_finite(optimizer: Optimizer, condition: torch.Tensor) -> None:
    """Step a fused optimizer if ``condition`` (a bool scalar on the device) is true, without synchronizing.

    Uses ``found_inf``, as torch.amp.GradScaler does.
    """
    optimizer.found_inf = (~condition).float()  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    del optimizer.found_inf  # pyright: ignore[reportAttributeAccessIssue]


def set_learning_rates(
    optimizer: Optimizer, config: OptimizerConfig, factor: float, depths: Mapping[str, Depth]
) -> None:
    """Set the learning rate of each group for the next step. ``factor`` is the schedule's."""
    for group in optimizer.param_groups:
        group["factor"] = lr_factor(config, depths[group["names"][0]].distance)
        group["lr"] = config.lr * group["factor"] * factor


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rates, by name."""
    return {group["depth"]: group["lr"] for group in optimizer.param_groups}


def named_state(optimizer: Optimizer) -> NamedState:
    """The optimizer's state, by parameter name."""
    return {
        name: dict(optimizer.state[parameter])
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if parameter in optimizer.state
    }


def cloned(state: NamedState) -> NamedState:
    """A deep copy of ``state``."""
    return {
        name: {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in values.items()}
        for name, values in state.items()
    }


def restore_state(optimizer: Optimizer, state: NamedState) -> None:
    """Restore the state of each parameter. One without an entry starts fresh."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in state:
                optimizer.state[parameter] = {
                    key: _placed(optimizer, key, value, parameter) for key, value in state[name].items()
                }


def _placed(optimizer: Optimizer, key: str, value: Any, parameter: nn.Parameter) -> Any:  # noqa: ANN401
    """State on its parameter's device and in its memory format, as fused kernels require.

    The step count stays on the host unless a fused kernel reads it.
    """
    if not isinstance(value, torch.Tensor) or (key == "step" and not is_fused(optimizer)):
        return value
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
