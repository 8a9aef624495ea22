"""Locates the first non-finite value of a training step: repeats the step with a hook on every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from engine.compute.task import Criterion
from engine.training.feature_loader import Batch
from engine.training.forward_backward import PreStepState, forward_backward
from engine.training.session import Session


def locate_nonfinite(
    session: Session, batch: Batch, criterion: Criterion, parts: Sequence[slice], before: PreStepState
) -> str:
    """Where a step's first non-finite value arises, as the end of a sentence ("in …"); "" if unknown.

    Repeats the step from the state ``before`` it, with the current weights. The state of the run does not change;
    gradients are dropped.
    """
    module = session.classifier.module
    if not all(_is_finite(tensor) for tensor in batch.inputs):
        return f"in the features of the frozen layers up to {session.boundary}" if session.boundary else "in the images"
    broken = next((name for name, p in module.named_parameters() if not _is_finite(p)), None)
    if broken:
        return f"in the weights of {broken} themselves"
    now = PreStepState(session.freezing, session.device)
    before.restore()
    try:
        return _locate_in_layers(
            module, lambda: forward_backward(session, batch, criterion, parts, synchronized=False)[0]
        )
    finally:
        now.restore()
        session.optimizer.zero_grad(set_to_none=True)


def _locate_in_layers(module: nn.Module, step: Callable[[], torch.Tensor]) -> str:
    order: dict[str, int] = {}
    first: list[str] = []

    def watch(path: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
            order[path] = len(order)
            if not first and not all(_is_finite(tensor) for tensor in _tensors(output)):
                first.append(path)

        return layer.register_forward_hook(hook)

    for parameter in module.parameters():
        parameter.grad = None
    handles = [watch(path, layer) for path, layer in module.named_modules() if path]
    try:
        loss = step()
    finally:
        for handle in handles:
            handle.remove()
    if first:
        return f"in the output of {first[0]}"
    if not _is_finite(loss):
        return "in the loss itself"
    # Gradients flow back from the loss: the last layer of the forward pass has the first non-finite gradient.
    broken = [name for name, p in module.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
    if broken:
        return f"in the gradient of {max(broken, key=lambda name: order.get(name.rpartition('.')[0], -1))}"
    return ""


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _tensors(output: object) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, tuple | list) else []
