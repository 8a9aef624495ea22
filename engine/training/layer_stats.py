"""Layers at work: how much each has moved, its gradient, how far a step takes it, which of its units are dead.

One step in many is looked at. Which ones follows from their number alone, so that a run that was interrupted tells
of the same ones; and what looks at them neither changes a weight nor draws a random number.
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
from engine.runs.events import DeadUnits, LayerFigures, Layers
from engine.training.session import Session

# Steps between two looks within an epoch. One costs about what the optimizer's update of the same weights does, which
# can be half of a step where the head alone trains.
_APART = 40
_LOOKS = 4  # in a long epoch

_RECTIFIERS = (nn.ReLU, nn.ReLU6)  # never below 0, so that a unit whose highest output is 0 gave nothing else


def is_due(step: int, steps_per_epoch: int) -> bool:
    """Whether to look at the layers in ``step`` (from 1): at the end of each epoch, and some times in a long one."""
    within = step % steps_per_epoch
    apart = max(_APART, math.ceil(steps_per_epoch / _LOOKS))
    return within == 0 or (within % apart == 0 and steps_per_epoch - within >= apart)


class Look:
    """At the layers in one step. Everything stays on the device until the step's figures are read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._start = session.start.weights
        trainable = session.freezing.trainable
        parameters = dict(session.classifier.module.named_parameters())
        self._trained = {name: parameter.detach() for name, parameter in trainable.items()}
        self._names = [name for name in parameters if name in trainable or name in self._start]
        self._weights = [parameters[name].detach() for name in self._names]
        self._outputs: dict[str, list[torch.Tensor]] = {}
        self._gradients: dict[str, torch.Tensor] = {}
        self._before: list[torch.Tensor] = []
        self._units: dict[str, int] = {}

    @contextmanager
    def activations(self) -> Iterator[None]:
        """Watch what the rectifiers give in the forward passes of the step."""
        self._outputs = defaultdict(list)
        hooks = [
            layer.register_forward_hook(functools.partial(self._see, path))
            for path, layer in self._session.classifier.module.named_modules()
            if isinstance(layer, _RECTIFIERS)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, path: str, _layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        channel = 1 if output.ndim == 4 and not is_channels_last(output) else output.ndim - 1
        others = [dimension for dimension in range(output.ndim) if dimension != channel]
        self._outputs[path].append(output.detach().amax(others) > 0)

    def before_update(self) -> None:
        """Take the gradients, before they are clipped, and the weights that they will change."""
        gradients = {name: p.grad for name, p in self._session.freezing.trainable.items() if p.grad is not None}
        self._gradients = dict(zip(gradients, _norms(list(gradients.values())), strict=True))
        self._before = [weight.clone() for weight in self._trained.values()]

    def after_update(self, parts: int) -> torch.Tensor:
        """All figures of the step as one tensor, for ``event``; the batch went through in so many ``parts``."""
        updates = dict(zip(self._trained, _distances(list(self._trained.values()), self._before), strict=True))
        nothing = torch.zeros((), device=self._session.device)
        found = [self._gradients.get(name, nothing) for name in self._names]
        found += [updates.get(name, nothing) for name in self._names]
        found += _norms(self._weights)
        if self._session.start.known:
            first = [self._start[name] for name in self._names]
            found += [*_distances(self._weights, first), *_norms(first)]
        found += [self._dead(path, outputs, parts) for path, outputs in self._outputs.items()]
        self._before, self._outputs = [], {}
        return torch.stack([figure.double() for figure in found])

    def _dead(self, path: str, alive: Sequence[torch.Tensor], parts: int) -> torch.Tensor:
        """How many units were dead, over all places in the network at which one module serves."""
        places = len(alive) // parts
        lived = torch.cat([torch.stack(list(alive[place::places])).any(0) for place in range(places)])
        lived = self._session.ranks.stacked(lived.byte()).bool().any(0)
        self._units[path] = len(lived)
        return (~lived).sum()

    def event(self, step: int, epoch: int, figures: Sequence[float]) -> Layers | None:
        """What to tell of the step; nothing where a figure is not finite, which the step tells itself."""
        if not all(map(math.isfinite, figures)):
            return None
        count, norms = len(self._names), figures[: len(figures) - len(self._units)]
        of_parameters = {name: norms[at::count] for at, name in enumerate(self._names)}
        dead = dict(zip(self._units, figures[len(norms) :], strict=True))
        return Layers(
            step=step,
            epoch=epoch,
            layers={path: _layer(_together(inside)) for path, inside in _by_layer(of_parameters).items()},
            dead={path: DeadUnits(int(number), self._units[path]) for path, number in dead.items()},
            stages=self._stages(of_parameters),
        )

    def _stages(self, of_parameters: Mapping[str, Sequence[float]]) -> dict[str, float]:
        inside: dict[str, list[Sequence[float]]] = defaultdict(list)
        for name, norms in of_parameters.items():
            inside[self._session.depths[name].group].append(norms)
        layers = {stage: _layer(_together(norms)) for stage, norms in inside.items()}
        return {
            stage: _rounded(layer.moved / layer.start)
            for stage, layer in layers.items()
            if layer.moved is not None and layer.start
        }


def _norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch._foreach_norm(tensors)) if tensors else []  # pyright: ignore[reportPrivateImportUsage]


def _distances(these: list[torch.Tensor], those: list[torch.Tensor]) -> list[torch.Tensor]:
    return _norms(list(torch._foreach_sub(these, those))) if these else []  # pyright: ignore[reportPrivateImportUsage]


def _by_layer(of_parameters: Mapping[str, Sequence[float]]) -> dict[str, list[Sequence[float]]]:
    found: dict[str, list[Sequence[float]]] = defaultdict(list)
    for name, norms in of_parameters.items():
        found[name.rpartition(".")[0]].append(norms)
    return found


def _together(norms: Iterable[Sequence[float]]) -> list[float]:
    """The norms of several tensors as one."""
    return [math.hypot(*kind) for kind in zip(*norms, strict=True)]


def _layer(norms: Sequence[float]) -> LayerFigures:
    gradient, update, weight, *since_start = map(_rounded, norms)
    moved, start = since_start or (None, None)
    return LayerFigures(start=start, moved=moved, weight=weight, gradient=gradient, update=update)


def _rounded(number: float) -> float:
    """Six digits are as many as norms in single precision have, and keep the log short."""
    return float(f"{number:.6g}")
