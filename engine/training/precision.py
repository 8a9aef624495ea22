"""In which arithmetic the network runs. Losses are always computed in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from engine.errors import InputError
from engine.progress import Report

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """``name`` is "fp32", "bf16" or "fp16"."""

    name: str
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions and matrix products compute in."""
        return _DTYPES.get(self.name, torch.float32)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the forward pass runs."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses where fp16 gradients would vanish; elsewhere it passes everything through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_precision(wanted: str, device: torch.device, report: Report) -> tuple[Precision, Precision]:
    """What the config says, checked: for what trains, and for frozen layers. Raises InputError.

    "auto" is bf16 or fp16 on CUDA; on a processor what is faster there, which may have to be
    measured: ``report`` learns of that; and fp32 elsewhere.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise InputError('train.precision = "fp16" does not train on a processor; use "bf16", "fp32" or "auto"')
    training = frozen = "fp32" if wanted == "auto" else wanted
    if wanted == "auto" and device.type == "cuda":
        training = frozen = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "auto" and device.type == "cpu":
        from engine.models.arithmetic import fastest  # which runs layers in one precision and the other

        training, frozen = fastest(report)
    return Precision(training, device), Precision(frozen, device)
