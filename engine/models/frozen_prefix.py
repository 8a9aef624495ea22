"""Runs the frozen prefix of a network fast: batch norms folded, in inference mode, in the device's best precision."""

from __future__ import annotations

import copy
import hashlib
import platform
from collections import Counter
from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine.compute.batch_fit import Fits, release
from engine.compute.precision import Precision
from engine.models.preprocessing import Preprocessing
from engine.models.split import NetworkSplit

_VERSION = "1"  # part of the identity of cached features: raise it when the prefix computes others
Features = tuple[torch.Tensor, ...]  # features: one tensor (N, …) for each tensor of the boundary


class Prefix:
    """Computes the features of a boundary from images, or from the features of an earlier boundary.

    It always runs on ``chunk`` images; the last image fills up a smaller batch. Libraries choose kernels by batch
    size, so that features would otherwise differ in their last bits with the number of images.
    """

    def __init__(self, module: nn.Module, precision: Precision, fits: Fits | None = None, chunk: int = 0) -> None:
        """``module`` returns a tensor or a tuple of them; ``chunk`` 0 chooses by the device and by ``fits``."""
        self.module = _fast(module, precision)
        self._precision = precision
        self._fits = fits
        self.chunk = chunk or (256 if precision.device.type == "cuda" else 32)
        if fits:
            self.chunk = fits.size("prefix", self.chunk)

    def __call__(self, *inputs: torch.Tensor) -> Features:
        """Inputs (N, …) → features (N, …) on the device. Raises TrainingFailed where memory is too small."""
        while True:
            try:
                return self._in_chunks(*inputs)
            except Exception as error:
                if self._fits is None:
                    raise
                self.chunk = self._fits.shrink("prefix", self.chunk, error)
            release(self._precision.device)

    def resized(self, images: int) -> Prefix:
        """The same layers for batches of ``images``, for features that are not cached: none of a chunk is padding."""
        found = copy.copy(self)
        found.chunk = self._fits.size("prefix", images) if self._fits else images
        return found

    def _in_chunks(self, *inputs: torch.Tensor) -> Features:
        parts = [self._compute(*inputs) for inputs in zip(*(t.split(self.chunk) for t in inputs), strict=True)]
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    @torch.inference_mode()
    def example_features(self, image: torch.Tensor) -> Features:
        """The features of one normalized image (1, 3, S, S), for their shapes and types."""
        with self._precision.autocast():
            return self.module(image)

    @torch.inference_mode()
    def _compute(self, *inputs: torch.Tensor) -> Features:
        count = len(inputs[0])
        if count < self.chunk:
            inputs = tuple(torch.cat([t, t[-1:].expand(self.chunk - count, *t.shape[1:])]) for t in inputs)
        with self._precision.autocast():
            computed = self.module(*inputs)
        return tuple(tensor[:count] for tensor in ((computed,) if isinstance(computed, torch.Tensor) else computed))


def identity(
    split: NetworkSplit, digests: Mapping[str, str], preprocessing: Preprocessing, precision: Precision
) -> str:
    """A SHA-256 over all that features depend on besides the image; ``digests``: SHA-256 of frozen tensors."""
    parts = [_VERSION, torch.__version__, precision.device.type, platform.machine(), precision.name]
    parts += [preprocessing.cache_key, split.code, repr(split.boundary)]
    parts += [f"{name} {digests[name]}" for name in sorted(split.prefix_state)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fast(module: nn.Module, precision: Precision) -> nn.Module:
    """A copy of ``module`` for inference, with batch norms folded and weights in the precision's type."""
    fast = copy.deepcopy(module).eval().requires_grad_(False)
    if isinstance(fast, fx.GraphModule):
        _fold_batch_norms(fast)
    if precision.dtype is not torch.float32:
        for layer in fast.modules():
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
                layer.to(precision.dtype)  # autocast would cast them for every batch
    return fast.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _fold_batch_norms(graph_module: fx.GraphModule) -> None:
    called = Counter(node.target for node in graph_module.graph.nodes if node.op == "call_module")
    for node in graph_module.graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm = graph_module.get_submodule(str(node.target))
        convolution = graph_module.get_submodule(str(before.target))
        alone = len(before.users) == 1 and called[node.target] == called[before.target] == 1
        if not (alone and isinstance(norm, _BatchNorm) and isinstance(convolution, nn.Conv2d)):
            continue
        graph_module.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
        # timm's norm layers include their activation.
        activation = [layer for name in ("drop", "act") if (layer := getattr(norm, name, None)) is not None]
        graph_module.set_submodule(str(node.target), nn.Sequential(*activation))
    graph_module.recompile()
