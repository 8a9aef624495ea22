"""Checks the installed libraries and chooses the device."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

from engine.errors import InputError, first_line
from engine.system import rank_env

if TYPE_CHECKING:
    import torch


def check_libraries() -> None:
    """Import torch and torchvision. Raises InputError if their builds do not match."""
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
    """The version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """The versions that metrics depend on: of Python and of the libraries that compute."""
    packages = ("tltui", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: installed_version(name) for name in packages}}


def choose_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:1" or "mps"; each rank of a run has its own GPU.

    Raises InputError if there is no such device.
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
        raise InputError(f'train.device = "{wanted}" is one device; with torchrun use "cpu" or "cuda"')
    if here > cards:
        raise InputError(
            f"{here} processes on this machine need a CUDA device each, and torch finds {cards}; start fewer"
        )
    return torch.device(f"cuda:{rank_env.local_rank()}")


def device_name(device: torch.device) -> str:
    """The device's name: that of the GPU or the CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else f"{platform.machine()}, {torch.get_num_threads()} threads"
