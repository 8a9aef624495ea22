"""Which arithmetic a processor does faster: measured once for each machine and network, since names do not tell.

Frozen layers, which only run forward, and training are measured apart: a processor may do the one faster in bf16 and
the other in fp32 (gradients of depthwise convolutions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import torch
from torch import nn
from torch.nn import functional

from engine.cache.folder import ARITHMETIC, cache_root, private_folder
from engine.config import HeadConfig
from engine.environment import installed_version, processor_name
from engine.models import zoo
from engine.models.prefix import Prefix
from engine.rundir import write_atomically
from engine.training.criterion import main_logits
from engine.training.precision import Precision

_PICTURES = 8
_SECONDS = 0.4  # for each measurement, or as long as two runs take
_LONG = 1.0  # seconds for _PICTURES forward, beyond which training is not measured but taken to be alike
_GAIN = 1.2  # below this the digits that bf16 lacks are not worth it


class Speed(msgspec.Struct):
    """Seconds that one picture takes, by arithmetic: forward in a frozen network, and for a step of training."""

    frozen: dict[str, float]
    training: dict[str, float]


def fastest(model: str, image_size: int) -> tuple[str, str]:
    """ "bf16" or "fp32" for training ``model`` on this processor, and for its frozen layers.

    ``image_size`` in pixels; 0: what its weights expect.
    """
    key = f"{model} at {image_size}, torch {installed_version('torch')}, {processor_name()}"
    known = _known()
    if key not in known:
        with torch.random.fork_rng(devices=[]):
            known[key] = _measure(zoo.build(model, 2, HeadConfig(), image_size))
        with suppress(OSError):  # it will be measured again
            write_atomically(private_folder(cache_root()) / ARITHMETIC, msgspec.json.format(msgspec.json.encode(known)))
    return _better(known[key].training), _better(known[key].frozen)


def _better(seconds: dict[str, float]) -> str:
    return "bf16" if seconds["bf16"] * _GAIN < seconds["fp32"] else "fp32"


def _measure(classifier: zoo.Classifier) -> Speed:
    size = classifier.preprocessing.image_size
    network = classifier.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pictures = torch.zeros(_PICTURES, 3, size, size).to(memory_format=torch.channels_last)
    arithmetics = {name: Precision(name, torch.device("cpu")) for name in ("fp32", "bf16")}
    frozen = {}
    for name, precision in arithmetics.items():
        prefix = Prefix(network.eval(), precision, chunk=_PICTURES)
        frozen[name] = _seconds(lambda prefix=prefix: prefix(pictures))
    if frozen["fp32"] * _PICTURES > _LONG:
        return Speed(frozen, frozen)
    network.train()
    return Speed(frozen, {name: _seconds(lambda p=p: _step(network, pictures, p)) for name, p in arithmetics.items()})


def _step(network: nn.Module, pictures: torch.Tensor, precision: Precision) -> None:
    with precision.autocast():
        logits = main_logits(network(pictures))
    functional.cross_entropy(logits.float(), torch.zeros(_PICTURES, dtype=torch.long)).backward()
    network.zero_grad()


def _seconds(run: Callable[[], object]) -> float:
    """The time that a picture takes, at best; the first run sets up what the others use."""
    began = time.perf_counter()
    run()
    times: list[float] = []
    while not times or time.perf_counter() - began < _SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(min(times) / _PICTURES, 6)


def _known() -> dict[str, Speed]:
    try:
        return msgspec.json.decode((cache_root() / ARITHMETIC).read_bytes(), type=dict[str, Speed])
    except (OSError, msgspec.DecodeError):
        return {}
