"""The libraries and the device that the engine finds."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, first_line
from engine.system import rank_env

if TYPE_CHECKING:
    import torch

_FLAGS = ("flags", "Features")  # what /proc/cpuinfo calls them on x86 and on ARM
_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def check_libraries() -> None:
    """Import torch and torchvision together. Raises InputError where they were not built for each other."""
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        versions = {name: installed_version(name) for name in ("torch", "torchvision")}
        raise InputError(
            f"torch {versions['torch']} and torchvision {versions['torchvision']} do not work together "
            f"({first_line(error)}); install a matching pair into this environment, from one source: "
            "pip install --force-reinstall torch torchvision"
        ) from error


def installed_version(package: str) -> str:
    """The version of a package, "not installed" if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """What decides about figures: the versions of Python and of the libraries that compute."""
    packages = ("tltui", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: installed_version(name) for name in packages}}


def choose_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:1" or "mps", of several processes each its own card.

    Raises InputError where it is not there.
    """
    import torch

    if rank_env.processes() > 1:
        return _device_of_rank(wanted)
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        found = f"torch finds {count} CUDA device{'s' if count != 1 else ''}" if count else "torch finds no CUDA device"
        raise InputError(f'train.device = "{wanted}" is not there: {found} here; use "auto" or "cpu"')
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError('train.device = "mps" is not there: torch finds no Apple GPU here; use "auto" or "cpu"')
    return torch.device("cuda:0") if wanted == "cuda" else device


def _device_of_rank(wanted: str) -> torch.device:
    import torch

    here, cards = rank_env.local_processes(), torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and not cards):
        return torch.device("cpu")
    if wanted not in ("auto", "cuda"):
        raise InputError(
            f'train.device = "{wanted}" is one device; processes that torchrun starts take "cpu" or "cuda"'
        )
    if here > cards:
        raise InputError(f"{here} processes on this machine want a CUDA device each, and torch finds {cards}")
    return torch.device(f"cuda:{rank_env.local_rank()}")


def device_name(device: torch.device) -> str:
    """What people call the device: the card's or the processor's name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else f"{platform.machine()}, {torch.get_num_threads()} threads"


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
