"""What the figures hold for: the processor, the card, the libraries."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.system import devices

# Dense bf16 with fp32 accumulation, FLOP/s, from the vendor's data sheets.
_BF16_PEAKS = {"H200": 989.4e12, "H100 80GB HBM3": 989.4e12, "H100 PCIe": 756e12, "A100": 312e12}
_TELLING_FLAGS = ("avx", "amx", "fma", "sve", "bf16", "i8mm", "asimd")


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, memory, device and versions."""
    flags, name = _processor()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "flags": [flag for flag in flags if any(part in flag for part in _TELLING_FLAGS)],
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "device": devices.device_name(device),
        "versions": devices.versions() | {"fastai": devices.installed_version("fastai")},
        "commit": commit.stdout.strip(),
    }


def bf16_peak(device: torch.device) -> float | None:
    """FLOP/s of the card where its data sheet is known here."""
    name = devices.device_name(device)
    return next((peak for part, peak in _BF16_PEAKS.items() if part in name), None)


def _processor() -> tuple[list[str], str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [], platform.processor()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("flags", facts.get("Features", "")).split(), facts.get("model name", platform.machine())
