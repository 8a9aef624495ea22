"""Batch norm and dropout over the global batch, in a process that has a local batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from engine.training.distributed import Ranks


class GlobalBatchMode(TorchFunctionMode):
    """Mode in which layers in training treat the local batch as in the global batch.

    - Batch norm uses statistics of all images, as torch.nn.SyncBatchNorm does. That one supports CUDA only and has to
      replace the network's layers.
    - Each process draws random masks (dropout, stochastic depth) for all images, with the same random numbers, and
      uses those of its own images. Dropout inside fused attention is not synchronized.
    """

    def __init__(self, ranks: Ranks, positions: torch.Tensor, count: int) -> None:
        """``positions``: int64 (N,), on the device, of the local images in the global batch of ``count`` images."""
        super().__init__()
        self._ranks = ranks
        self._positions = positions
        self._count = count

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 (whatever ``func`` gives)
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is torch.Tensor.bernoulli_ and self._is_per_image(args[0]):
            return args[0].copy_(self._like_global(args[0]).bernoulli_(*args[1:], **kwargs)[self._positions])
        return func(*args, **kwargs)

    def _batch_norm(
        self,
        inputs: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        if not training:
            return functional.batch_norm(inputs, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = _statistics(inputs.detach().float(), self._ranks)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
        return _SyncBatchNorm.apply(inputs, weight, bias, mean, var, eps, count, self._ranks)  # pyright: ignore[reportReturnType]

    def _dropout(
        self, inputs: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or not p or not self._is_per_image(inputs):
            return functional.dropout(inputs, p, training, inplace)
        mask = functional.dropout(self._like_global(inputs).fill_(1), p)[self._positions]
        return inputs.mul_(mask) if inplace else inputs * mask

    def _is_per_image(self, tensor: torch.Tensor) -> bool:
        return tensor.ndim > 1 and len(tensor) == len(self._positions)

    def _like_global(self, local: torch.Tensor) -> torch.Tensor:
        """A tensor for the global batch, in the memory format of ``local``, which orders the random numbers."""
        local = local.detach()
        shape = self._count, *local.shape[1:]
        return torch.empty_like(local[:1].expand(shape).contiguous(memory_format=_memory_format(local)))


def _memory_format(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format


def _statistics(local: torch.Tensor, ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean (C,), biased variance (C,) and number of values (C,) of each channel over the global batch.

    Combines local statistics as Chan, Golub and LeVeque 1979 (Updating Formulae and a Pairwise Algorithm).
    """
    var, mean = torch.var_mean(local, _all_but_channels(local), correction=0)
    count = torch.full_like(mean, local.numel() / local.shape[1])
    counts, means, variances = ranks.all_gather_stacked(torch.stack([count, mean, var])).unbind(1)
    total = counts.sum(0)
    global_mean = (counts * means).sum(0) / total
    squares = (counts * (variances + (means - global_mean) ** 2)).sum(0)
    return global_mean, squares / total, total


def _all_but_channels(tensor: torch.Tensor) -> list[int]:
    return [0, *range(2, tensor.ndim)]


class _SyncBatchNorm(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) · weight + bias, with mean and variance of the global batch."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        inputs: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        var: torch.Tensor,
        eps: float,
        count: torch.Tensor,
        ranks: Ranks,
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight, mean, (var + eps).rsqrt(), count)
        ctx.ranks = ranks
        return functional.batch_norm(inputs, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # noqa: ANN401 (torch's)
        inputs, weight, mean, scale, count = ctx.saved_tensors
        shape = [1, -1] + [1] * (inputs.ndim - 2)
        gradient = gradients[0].float()
        normalized = (inputs.float() - mean.view(shape)) * scale.view(shape)
        axes = _all_but_channels(inputs)
        bias_grad, weight_grad = gradient.sum(axes), (gradient * normalized).sum(axes)
        global_bias_grad, global_weight_grad = bias_grad.clone(), weight_grad.clone()
        ctx.ranks.all_reduce([global_bias_grad, global_weight_grad])
        through_statistics = (global_bias_grad / count).view(shape)
        through_statistics = through_statistics + normalized * (global_weight_grad / count).view(shape)
        factor = scale if weight is None else scale * weight
        input_grad = ((gradient - through_statistics) * factor.view(shape)).to(inputs.dtype)
        if weight is None:
            return input_grad, None, None, None, None, None, None, None
        return input_grad, weight_grad.to(weight.dtype), bias_grad.to(weight.dtype), None, None, None, None, None
