"""CPU cores, instructions and threads."""

from __future__ import annotations

import ctypes
import math
import os
import platform
from contextlib import suppress
from pathlib import Path

from engine.system import rank_env

_FLAGS = ("flags", "Features")  # their names in /proc/cpuinfo on x86 and on ARM


_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def usable_cores() -> int:
    """The number of cores for this process: its CPU affinity, limited by a container's quota and $OMP_NUM_THREADS.

    The ranks of a run on this machine share the cores equally.
    """
    cores = max(1, _machine_cores() // rank_env.local_processes())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def _machine_cores() -> int:
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return bound if quota == "max" else max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one without cgroup v2
        return bound


def set_up_processor() -> None:
    """Set torch's threads to the usable cores, and make malloc keep freed memory."""
    import torch

    torch.set_num_threads(usable_cores())
    with suppress(OSError, AttributeError):  # another C library than glibc
        # Each layer frees and allocates activations. Returning them to the system takes a third of the time, because
        # it clears every page that it hands out.
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def has_bf16_instructions() -> bool | None:
    """Whether the CPU's flags list bf16 instructions; None if the system lists no flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    flags = next((line.split(":", 1)[1] for line in lines if line.partition(":")[0].strip() in _FLAGS), None)
    return None if flags is None else not _BF16.isdisjoint(flags.split())


def processor_name() -> str:
    """The CPU's model name and this process's number of threads."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        found = {key.strip(): value.strip() for key, value in lines.items()}
        name = found.get("model name") or found.get("Model") or platform.machine()
    except OSError:
        name = platform.processor() or platform.machine()
    return f"{name}, {usable_cores()} threads"
