"""Statistics of layers in training: weight change, gradient norm, update size, dead units.

A few steps of each epoch have them. The step's number alone decides which, so that a resumed run emits the same ones.
Collecting them changes no weight and draws no random number.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from engine.models.stage_features import is_channels_last
from engine.runs.events import DeadUnits, LayerNorms, Layers
from engine.training.session import Session

# Fewest steps between two collections within an epoch. One costs as much as the optimizer's update of the same
# weights, which can be half of a step if the head alone trains.
_MIN_INTERVAL = 40
_PER_EPOCH = 4  # in a long epoch

_RECTIFIERS = (nn.ReLU, nn.ReLU6)  # never negative, so that a unit whose maximum is 0 is 0 everywhere


def is_due(step: int, steps_per_epoch: int) -> bool:
    """Whether ``step`` (from 1) has layer statistics: at the end of each epoch, and a few times in a long one."""
    within = step % steps_per_epoch
    interval = max(_MIN_INTERVAL, math.ceil(steps_per_epoch / _PER_EPOCH))
    return within == 0 or (within % interval == 0 and steps_per_epoch - within >= interval)


class LayerStats:
    """The statistics of one step. They stay on the device until the step's results are read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._initial = session.initial_weights.weights
        trainable = session.freezing.trainable
        parameters = dict(session.classifier.module.named_parameters())
        self._trained = {name: parameter.detach() for name, parameter in trainable.items()}
        self._names = [name for name in parameters if name in trainable or name in self._initial]
        self._weights = [parameters[name].detach() for name in self._names]
        self._active: dict[str, list[torch.Tensor]] = {}
        self._gradients: dict[str, torch.Tensor] = {}
        self._before: list[torch.Tensor] = []
        self._units: dict[str, int] = {}

    @contextmanager
    def record_activations(self) -> Iterator[None]:
        """Record which units of the rectifiers are active in the forward passes of the step."""
        self._active = defaultdict(list)
        hooks = [
            layer.register_forward_hook(functools.partial(self._record, path))
            for path, layer in self._session.classifier.module.named_modules()
            if isinstance(layer, _RECTIFIERS)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _record(self, path: str, _layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        channel = 1 if output.ndim == 4 and not is_channels_last(output) else output.ndim - 1
        others = [dimension for dimension in range(output.ndim) if dimension != channel]
        self._active[path].append(output.detach().amax(others) > 0)

    def before_update(self) -> None:
        """Record gradient norms before clipping, and the weights before the update."""
        gradients = {name: p.grad for name, p in self._session.freezing.trainable.items() if p.grad is not None}
        self._gradients = dict(zip(gradients, _norms(list(gradients.values())), strict=True))
        self._before = [weight.clone() for weight in self._trained.values()]

    def after_update(self, parts: int) -> torch.Tensor:
        """All statistics of the step as one tensor, for ``to_event``. ``parts``: parts of the batch."""
        updates = dict(zip(self._trained, _distances(list(self._trained.values()), self._before), strict=True))
        zero = torch.zeros((), device=self._session.device)
        stats = [self._gradients.get(name, zero) for name in self._names]
        stats += [updates.get(name, zero) for name in self._names]
        stats += _norms(self._weights)
        if self._session.initial_weights.known:
            initial = [self._initial[name] for name in self._names]
            stats += [*_distances(self._weights, initial), *_norms(initial)]
        stats += [self._dead(path, active, parts) for path, active in self._active.items()]
        self._before, self._active = [], {}
        return torch.stack([value.double() for value in stats])

    def _dead(self, path: str, active: Sequence[torch.Tensor], parts: int) -> torch.Tensor:
        """The number of dead units, over all calls of a module that the network uses several times."""
        calls = len(active) // parts
        alive = torch.cat([torch.stack(list(active[call::calls])).any(0) for call in range(calls)])
        alive = self._session.context.ranks.all_gather_stacked(alive.byte()).bool().any(0)
        self._units[path] = len(alive)
        return (~alive).sum()

    def to_event(self, step: int, epoch: int, stats: Sequence[float]) -> Layers | None:
        """The event of the step; None if a value is non-finite, which the step's own event reports."""
        if not all(map(math.isfinite, stats)):
            return None
        count, norms = len(self._names), stats[: len(stats) - len(self._units)]
        by_parameter = {name: norms[at::count] for at, name in enumerate(self._names)}
        dead = dict(zip(self._units, stats[len(norms) :], strict=True))
        return Layers(
            step=step,
            epoch=epoch,
            layers={path: _layer(_combined(norms)) for path, norms in _by_layer(by_parameter).items()},
            dead={path: DeadUnits(int(number), self._units[path]) for path, number in dead.items()},
            stages=self._stages(by_parameter),
        )

    def _stages(self, by_parameter: Mapping[str, Sequence[float]]) -> dict[str, float]:
        by_stage: dict[str, list[Sequence[float]]] = defaultdict(list)
        for name, norms in by_parameter.items():
            by_stage[self._session.depths[name].group].append(norms)
        layers = {stage: _layer(_combined(norms)) for stage, norms in by_stage.items()}
        return {
            stage: _rounded(layer.moved / layer.start)
            for stage, layer in layers.items()
            if layer.moved is not None and layer.start
        }


def _norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch._foreach_norm(tensors)) if tensors else []  # pyright: ignore[reportPrivateImportUsage]


def _distances(tensors: list[torch.Tensor], others: list[torch.Tensor]) -> list[torch.Tensor]:
    return _norms(list(torch._foreach_sub(tensors, others))) if tensors else []  # pyright: ignore[reportPrivateImportUsage]


def _by_layer(by_parameter: Mapping[str, Sequence[float]]) -> dict[str, list[Sequence[float]]]:
    by_layer: dict[str, list[Sequence[float]]] = defaultdict(list)
    for name, norms in by_parameter.items():
        by_layer[name.rpartition(".")[0]].append(norms)
    return by_layer


def _combined(norms: Iterable[Sequence[float]]) -> list[float]:
    """The norms of several tensors taken together."""
    return [math.hypot(*kind) for kind in zip(*norms, strict=True)]


def _layer(norms: Sequence[float]) -> LayerNorms:
    gradient, update, weight, *since_start = map(_rounded, norms)
    moved, start = since_start or (None, None)
    return LayerNorms(start=start, moved=moved, weight=weight, gradient=gradient, update=update)


def _rounded(number: float) -> float:
    """Round to six digits: norms in single precision have no more, and the log stays short."""
    return float(f"{number:.6g}")
