"""Layers that look at a whole batch, in a process that has a part of it: batch norm and dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from engine.training.distributed import Ranks


class WholeBatch(TorchFunctionMode):
    """Within it, layers in training give this process's images what they would give them in the whole batch.

    Batch statistics are those of all images, as in torch.nn.SyncBatchNorm, which knows CUDA alone and has to replace
    the network's layers. Random masks (dropout, and the Bernoulli draws of stochastic depth) are drawn for all images
    in each process, with the same random numbers, and each takes its own. Dropout inside fused attention is left alone.
    """

    def __init__(self, ranks: Ranks, rows: torch.Tensor, count: int) -> None:
        """``rows``: int64 (N,), on the device, the positions in the batch of ``count`` images of those here."""
        super().__init__()
        self._ranks = ranks
        self._rows = rows
        self._count = count

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 (whatever ``func`` gives)
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is torch.Tensor.bernoulli_ and self._has_a_row_each(args[0]):
            return args[0].copy_(self._like_whole(args[0]).bernoulli_(*args[1:], **kwargs)[self._rows])
        return func(*args, **kwargs)

    def _batch_norm(
        self,
        given: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        if not training:
            return functional.batch_norm(given, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = _statistics(given.detach().float(), self._ranks)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
        return _Normalized.apply(given, weight, bias, mean, var, eps, count, self._ranks)  # pyright: ignore[reportReturnType]

    def _dropout(
        self, given: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or not p or not self._has_a_row_each(given):
            return functional.dropout(given, p, training, inplace)
        kept = functional.dropout(self._like_whole(given).fill_(1), p)[self._rows]
        return given.mul_(kept) if inplace else given * kept

    def _has_a_row_each(self, tensor: torch.Tensor) -> bool:
        return tensor.ndim > 1 and len(tensor) == len(self._rows)

    def _like_whole(self, part: torch.Tensor) -> torch.Tensor:
        """A tensor for all images, in the order of memory of ``part``, by which random numbers are dealt out."""
        part = part.detach()
        return torch.empty_like(part[:1].expand(self._count, *part.shape[1:]).contiguous(memory_format=_format(part)))


def _format(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format


def _statistics(part: torch.Tensor, ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean (C,) and biased variance (C,) of each channel over all images, and the number of values that they are of.

    Those of parts are put together as in Chan, Golub and LeVeque 1979 (Updating Formulae and a Pairwise Algorithm).
    """
    var, mean = torch.var_mean(part, _all_but_channels(part), correction=0)
    count = torch.full_like(mean, part.numel() / part.shape[1])
    counts, means, variances = ranks.stacked(torch.stack([count, mean, var])).unbind(1)
    total = counts.sum(0)
    whole_mean = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - whole_mean) ** 2)).sum(0)
    return whole_mean, spread / total, total


def _all_but_channels(tensor: torch.Tensor) -> list[int]:
    return [0, *range(2, tensor.ndim)]


class _Normalized(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) · weight + bias, where mean and variance depend on the images of all processes."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        given: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        var: torch.Tensor,
        eps: float,
        count: torch.Tensor,
        ranks: Ranks,
    ) -> torch.Tensor:
        ctx.save_for_backward(given, weight, mean, (var + eps).rsqrt(), count)
        ctx.ranks = ranks
        return functional.batch_norm(given, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # noqa: ANN401 (torch's)
        given, weight, mean, scale, count = ctx.saved_tensors
        shape = [1, -1] + [1] * (given.ndim - 2)
        gradient = gradients[0].float()
        normalized = (given.float() - mean.view(shape)) * scale.view(shape)
        axes = _all_but_channels(given)
        of_bias, of_weight = gradient.sum(axes), (gradient * normalized).sum(axes)
        all_bias, all_weight = of_bias.clone(), of_weight.clone()
        ctx.ranks.add_up([all_bias, all_weight])
        rest = (all_bias / count).view(shape) + normalized * (all_weight / count).view(shape)
        factor = scale if weight is None else scale * weight
        of_given = ((gradient - rest) * factor.view(shape)).to(given.dtype)
        if weight is None:
            return of_given, None, None, None, None, None, None, None
        return of_given, of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None, None, None, None
