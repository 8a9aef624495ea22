"""Where a number that is not finite came from: the step is repeated and every layer watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from engine.compute.loss import Criterion
from engine.training.feature_loader import Batch
from engine.training.forward_backward import Before, forward_backward
from engine.training.session import Session


def find_origin(session: Session, batch: Batch, criterion: Criterion, parts: Sequence[slice], before: Before) -> str:
    """In which layer the numbers of a step first were not finite, as the end of a sentence ("in …"); "" if unknown.

    The step is repeated from ``before``, with the weights of now; nothing of the run moves, gradients are dropped.
    """
    module = session.classifier.module
    if not all(_is_finite(tensor) for tensor in batch.inputs):
        return f"in what the frozen layers up to {session.boundary} give" if session.boundary else "in the images"
    broken = next((name for name, p in module.named_parameters() if not _is_finite(p)), None)
    if broken:
        return f"in the weights of {broken} themselves"
    now = Before(session.freezing, session.device)
    before.put_back()
    try:
        return _watched(module, lambda: forward_backward(session, batch, criterion, parts, together=False)[0])
    finally:
        now.put_back()
        session.optimizer.zero_grad(set_to_none=True)


def _watched(module: nn.Module, step: Any) -> str:  # noqa: ANN401 (gives the loss)
    order: dict[str, int] = {}
    first: list[str] = []

    def watch(path: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(_layer: nn.Module, _inputs: object, output: object) -> None:
            order[path] = len(order)
            if not first and not all(_is_finite(tensor) for tensor in _tensors(output)):
                first.append(path)

        return layer.register_forward_hook(look)

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
    # Gradients come from the loss: of those that are not finite, the layer that ran last had the first.
    odd = [name for name, p in module.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
    if odd:
        return f"in the gradient of {max(odd, key=lambda name: order.get(name.rpartition('.')[0], -1))}"
    return ""


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _tensors(output: object) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, tuple | list) else []
