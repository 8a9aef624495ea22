"""In which arithmetic the network runs. Losses are always computed in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

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
