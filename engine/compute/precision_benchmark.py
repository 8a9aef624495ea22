"""Which precision a processor computes faster in, for ``train.precision = "auto"``.

The processor's flags answer first: without bf16 instructions bf16 is emulated, 10 to 100 times slower than fp32. Where
the flags name them, or the system lists no flags, one small block of fixed size is timed, once for each machine.

Frozen layers, which only run forward, and training are timed apart: a processor may do the one faster in bf16 and
the other in fp32 (gradients of depthwise convolutions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import torch
from torch import nn

from engine.cache.eviction import ARITHMETIC, cache_root, private_folder
from engine.compute.precision import Precision
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.runs.progress import Report
from engine.system.cpu import has_bf16_instructions, processor_name
from engine.system.devices import installed_version

_ACTIVITY = "precision"
_BATCH, _CHANNELS, _SIDE = 4, 32, 28
_SECONDS = 0.05  # for each timing, or as long as two runs take
_GAIN = 1.2  # below this the digits that bf16 lacks are not worth it


class Speed(msgspec.Struct):
    """CPU seconds that the block takes, by precision: forward in a frozen network, and for a step of training."""

    frozen: dict[str, float]
    training: dict[str, float]


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
        training, frozen = fastest(report)
    return Precision(training, device), Precision(frozen, device)


def fastest(report: Report) -> tuple[str, str]:
    """ "bf16" or "fp32" for training on this processor, and for frozen layers. ``report`` learns of a measurement."""
    if has_bf16_instructions() is False:
        return "fp32", "fp32"
    key = f"torch {installed_version('torch')}, {processor_name()}"
    known = _known()
    if key not in known:
        known[key] = _measure(report)
        with suppress(OSError):  # it will be measured again
            write_atomically(private_folder(cache_root()) / ARITHMETIC, msgspec.json.format(msgspec.json.encode(known)))
    return _better(known[key].training), _better(known[key].frozen)


def _better(seconds: dict[str, float]) -> str:
    return "bf16" if seconds["bf16"] * _GAIN < seconds["fp32"] else "fp32"


def _measure(report: Report) -> Speed:
    """Time the block. Training is timed only where bf16 is faster forward; else it is taken to be alike."""
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
    """A full, a depthwise and a pointwise convolution: what image classifiers spend their time on."""
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
    """The CPU seconds that a run takes, at best; the first sets up what the others use."""
    began = time.perf_counter()
    run()
    times: list[float] = []
    while not times or time.perf_counter() - began < _SECONDS:
        start = time.process_time()  # what other processes take says nothing about this one
        run()
        times.append(time.process_time() - start)
    return round(min(times), 6)


def _known() -> dict[str, Speed]:
    try:
        return msgspec.json.decode((cache_root() / ARITHMETIC).read_bytes(), type=dict[str, Speed])
    except (OSError, msgspec.DecodeError):
        return {}
