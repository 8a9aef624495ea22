"""Processor cores, instructions and threads."""

from __future__ import annotations

import ctypes
import math
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.system import rank_env

if TYPE_CHECKING:
    pass


_FLAGS = ("flags", "Features")  # what /proc/cpuinfo calls them on x86 and on ARM


_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def usable_cores() -> int:
    """Cores that this process may keep busy: those it is bound to, or fewer where a container has a share of them, or
    ``$OMP_NUM_THREADS`` says so.

    Processes that train a run together take equal parts.
    """
    cores = max(1, _cores_here() // rank_env.local_processes())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def _cores_here() -> int:
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return bound if quota == "max" else max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one of another kind
        return bound


def set_up_processor() -> None:
    """Let this process use the cores that it may, and keep the memory that it has had."""
    import torch

    torch.set_num_threads(usable_cores())
    with suppress(OSError, AttributeError):  # another C library has other ways
        # Activations are freed and had again in each layer; giving them back to the system in between costs a third
        # of the time, for it clears every page that it hands out.
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def has_bf16_instructions() -> bool | None:
    """Whether the processor computes in bf16 itself, as its flags say; None where the system lists no flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    flags = next((line.split(":", 1)[1] for line in lines if line.partition(":")[0].strip() in _FLAGS), None)
    return None if flags is None else not _BF16.isdisjoint(flags.split())


def processor_name() -> str:
    """The processor's model, as the system calls it, and the number of cores that this process may keep busy."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        found = {key.strip(): value.strip() for key, value in lines.items()}
        name = found.get("model name") or found.get("Model") or platform.machine()
    except OSError:
        name = platform.processor() or platform.machine()
    return f"{name}, {usable_cores()} threads"
