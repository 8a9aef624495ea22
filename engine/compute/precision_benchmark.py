"""Chooses the faster precision on a CPU, for ``train.precision = "auto"``.

The CPU flags decide first: without bf16 instructions bf16 is emulated, 10 to 100 times slower than fp32. If the flags
list them, or the system lists no flags, one small block of fixed size is timed once per machine.

Frozen layers, which only run forward, and training are timed separately. A CPU may run one faster in bf16 and the
other in fp32 (gradients of depthwise convolutions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import torch
from torch import nn

from engine.cache.folder import ARITHMETIC, cache_root, private_folder
from engine.compute.precision import Precision
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.runs.progress import Report
from engine.system.cpu import has_bf16_instructions, processor_name
from engine.system.devices import installed_version

_ACTIVITY = "precision"
_BATCH, _CHANNELS, _SIDE = 4, 32, 28
_SECONDS = 0.05  # per timing, but at least two runs
_GAIN = 1.2  # a smaller speedup does not justify bf16's lower precision


class Speed(msgspec.Struct):
    """CPU seconds of the block by precision: for a frozen forward pass and for a training step."""

    frozen: dict[str, float]
    training: dict[str, float]


def choose_precision(wanted: str, device: torch.device, report: Report) -> tuple[Precision, Precision]:
    """The precision for training and the precision for frozen layers. Raises InputError.

    "auto" is bf16 or fp16 on CUDA, the faster of bf16 and fp32 on a CPU, and fp32 elsewhere. ``report`` gets the
    progress of a measurement.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise InputError('train.precision = "fp16" does not train on a CPU; use "bf16", "fp32" or "auto"')
    training = frozen = "fp32" if wanted == "auto" else wanted
    if wanted == "auto" and device.type == "cuda":
        training = frozen = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "auto" and device.type == "cpu":
        training, frozen = fastest(report)
    return Precision(training, device), Precision(frozen, device)


def fastest(report: Report) -> tuple[str, str]:
    """The faster of "bf16" and "fp32" on this CPU, for training and for frozen layers."""
    if has_bf16_instructions() is False:
        return "fp32", "fp32"
    key = f"torch {installed_version('torch')}, {processor_name()}"
    known = _known()
    if key not in known:
        known[key] = _measure(report)
        with suppress(OSError):  # the next run measures again
            write_atomically(private_folder(cache_root()) / ARITHMETIC, msgspec.json.format(msgspec.json.encode(known)))
    return _better(known[key].training), _better(known[key].frozen)


def _better(seconds: dict[str, float]) -> str:
    return "bf16" if seconds["bf16"] * _GAIN < seconds["fp32"] else "fp32"


def _measure(report: Report) -> Speed:
    """Time the block. Training is timed only if bf16 is faster forward; else its times are taken as equal."""
    precisions = {name: Precision(name, torch.device("cpu")) for name in ("fp32", "bf16")}
    with torch.random.fork_rng(devices=[]):
        block = _block()
    images = torch.zeros(_BATCH, _CHANNELS, _SIDE, _SIDE).to(memory_format=torch.channels_last)
    frozen: dict[str, float] = {}
    training: dict[str, float] = {}
    for timings, run in ((frozen, _forward), (training, _step)):
        for name, precision in precisions.items():
            report(_ACTIVITY, len(frozen) + len(training), 2 * len(precisions), "timings")
            timings[name] = _seconds(lambda run=run, precision=precision: run(block, images, precision))
        if _better(frozen) == "fp32":
            training = frozen
            break
    report(_ACTIVITY, 2 * len(precisions), 2 * len(precisions), "timings")
    return Speed(frozen, training)


def _block() -> nn.Module:
    """A full, a depthwise and a pointwise convolution, on which image classifiers spend most of their time."""
    layers = (
        nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
        nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, groups=_CHANNELS),
        nn.Conv2d(_CHANNELS, _CHANNELS, 1),
    )
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _forward(block: nn.Module, images: torch.Tensor, precision: Precision) -> None:
    with torch.inference_mode(), precision.autocast():
        block(images)


def _step(block: nn.Module, images: torch.Tensor, precision: Precision) -> None:
    with precision.autocast():
        outputs = block(images)
    outputs.float().sum().backward()
    block.zero_grad()


def _seconds(run: Callable[[], object]) -> float:
    """The CPU seconds of the fastest run; the first is a warm-up."""
    began = time.perf_counter()
    run()
    times: list[float] = []
    while not times or time.perf_counter() - began < _SECONDS:
        start = time.process_time()  # CPU time, because other processes disturb wall time
        run()
        times.append(time.process_time() - start)
    return round(min(times), 6)


def _known() -> dict[str, Speed]:
    try:
        return msgspec.json.decode((cache_root() / ARITHMETIC).read_bytes(), type=dict[str, Speed])
    except (OSError, msgspec.DecodeError):
        return {}
