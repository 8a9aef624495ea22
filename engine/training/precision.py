"""In which arithmetic the forward pass runs. Losses are always computed in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from engine.errors import InputError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """``name`` is "fp32", "bf16" or "fp16"."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the forward pass runs."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses where fp16 gradients would vanish; elsewhere it passes everything through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """What the config says, checked; "auto" is bf16 or fp16 on CUDA and fp32 elsewhere. Raises InputError."""
    if wanted == "auto":
        if device.type != "cuda":
            return Precision("fp32", device)
        return Precision("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16", device)
    if wanted == "fp16" and device.type == "cpu":
        raise InputError('train.precision = "fp16" does not train on a processor; use "bf16", "fp32" or "auto"')
    return Precision(wanted, device)
