"""Networks with random weights, plans, and the comparison of a split with its whole network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from engine.config.schema import HeadConfig
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import keeps_batch_statistics, stages
from engine.models.split import NetworkSplit, split

CLASSES = 5
IMAGES = 3
PLANS = ("head only", "last stage", "mixed")


@dataclass(frozen=True)
class Errors:
    """Largest differences between split and whole network, relative to the largest value of each tensor."""

    training: float
    evaluation: float
    gradients: float

    @property
    def worst(self) -> float:
        return max(self.training, self.evaluation, self.gradients)


class _ZerosAtFirst(TorchFunctionMode):
    """Zeros in place of the random numbers that networks start with: those take most of a giant's time to be."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


def build(name: str, image_size: int = 0, dtype: torch.dtype = torch.float32) -> registry.Classifier:
    """A network whose random weights and statistics have a scale at which every layer counts and nothing overflows."""
    with _ZerosAtFirst():
        classifier = registry.build(name, CLASSES, HeadConfig(dropout=0.2), image_size)
    torch.manual_seed(0)
    with torch.no_grad():
        for path, parameter in classifier.module.named_parameters():
            if parameter.ndim > 1:
                bound = (3 / parameter[0].numel()) ** 0.5
                parameter.uniform_(-bound, bound)
            elif path.endswith("bias"):
                parameter.uniform_(-0.1, 0.1)
            else:
                parameter.uniform_(0.5, 1.5)
        for path, statistic in classifier.module.named_buffers():
            if path.endswith("running_mean"):
                statistic.uniform_(-0.1, 0.1)
            elif path.endswith("running_var"):
                statistic.uniform_(0.5, 1.5)
    classifier.module.to(dtype)
    return classifier


def plan(classifier: registry.Classifier, kind: str) -> list[str]:
    """Rules by the word: "mixed" trains the last stage and the third last, and freezes the one between them."""
    parts = [[f"train {path}" for path in paths] for _, paths in stages(classifier.module, classifier.head)]
    trained = {"head only": [], "last stage": parts[-1], "mixed": [*parts[-3], *parts[-1]]}[kind]
    return ["freeze *", *trained, "train head"]


def split_under(
    classifier: registry.Classifier, rules: list[str], norm_stats: str = "follow"
) -> tuple[NetworkSplit, Freezing]:
    """The split of a network under a plan."""
    freezing = Freezing(classifier.module, classifier.head, norm_stats)
    freezing.apply(rules)
    return split(classifier, freezing), freezing


def images(classifier: registry.Classifier, count: int = IMAGES) -> torch.Tensor:
    """Noise in the shape of normalized images."""
    size = classifier.preprocessing.image_size
    like = next(classifier.module.parameters())
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7)).to(like)


def compare(classifier: registry.Classifier, parts: NetworkSplit, freezing: Freezing) -> Errors:
    """Put the same images through both, with the same random numbers and the same statistics at the start."""
    module, inputs = classifier.module, images(classifier)
    statistics = _statistics(module)
    before = [tensor.clone() for tensor in statistics]

    freezing.train_mode()
    whole, whole_gradients = _train(module, freezing, inputs)
    moved = [tensor.clone() for tensor in statistics]
    for tensor, value in zip(statistics, before, strict=True):
        tensor.copy_(value)
    with torch.no_grad():
        features = parts.prefix(inputs)
    kept = [tensor.clone() for tensor in features]
    ours, our_gradients = _train(parts.suffix_train, freezing, *features)
    assert all(map(torch.equal, features, kept)), "the suffix wrote to its inputs"
    assert all(map(torch.equal, statistics, moved))
    assert [(tuple(t.shape[1:]), t.dtype) for t in features] == [
        (tensor.shape, tensor.dtype) for tensor in parts.boundary
    ]
    training = _largest_error(ours, whole)
    least = 1e-3 * max(gradient.abs().max().item() for gradient in whole_gradients)
    assert least > 0
    gradients = _largest_error(our_gradients, whole_gradients, least)

    module.eval()
    with torch.no_grad():
        expected = pytree.tree_leaves(module(inputs))
        evaluation = _largest_error(pytree.tree_leaves(parts.suffix_eval(*parts.prefix(inputs))), expected)
    return Errors(training, evaluation, gradients)


def _statistics(module: nn.Module) -> list[torch.Tensor]:
    return [b for layer in module.modules() if keeps_batch_statistics(layer) for b in layer.buffers(recurse=False)]


def _train(
    module: nn.Module, freezing: Freezing, *inputs: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs, and gradients of everything that trains."""
    torch.manual_seed(1)
    outputs = pytree.tree_leaves(module(*inputs))
    loss = sum((output * torch.linspace(-1, 1, output.numel()).to(output).view_as(output)).sum() for output in outputs)
    trained = list(freezing.trainable.values())
    gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
    return [output.detach() for output in outputs], list(gradients)


def _largest_error(ours: list[torch.Tensor], theirs: list[torch.Tensor], least_scale: float = 0.0) -> float:
    """Gradients that are zero but for rounding are measured against ``least_scale``."""
    assert len(ours) == len(theirs)
    errors = [
        (a - b).abs().max().item() / max(b.abs().max().item(), least_scale, torch.finfo(b.dtype).tiny)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert all(torch.isfinite(tensor).all() for tensor in theirs)
    return max(errors)
