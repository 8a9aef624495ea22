"""Which arithmetic a processor does faster: measured once for each machine and network, since names do not tell."""

from __future__ import annotations

import itertools
import time

import msgspec
import torch

from engine.cache.folder import cache_root, private_folder
from engine.config import HeadConfig
from engine.environment import installed_version, processor_name
from engine.models import zoo
from engine.models.prefix import Prefix
from engine.rundir import write_atomically
from engine.training.precision import Precision

_PICTURES = 4
_SECONDS = 0.5  # for each arithmetic
_GAIN = 1.2  # below this the digits that bf16 lacks are not worth it


def fastest(model: str, image_size: int) -> str:
    """ "bf16" or "fp32", whichever runs ``model`` forward faster on this processor; ``image_size`` 0: its own."""
    key = f"{model} at {image_size}, torch {installed_version('torch')}, {processor_name()}"
    known = _known()
    if key not in known:
        known[key] = {name: round(_seconds(model, image_size, name), 6) for name in ("fp32", "bf16")}
        _remember(known)
    return "bf16" if known[key]["bf16"] * _GAIN < known[key]["fp32"] else "fp32"


def _seconds(model: str, image_size: int, name: str) -> float:
    """The time that one picture takes."""
    with torch.random.fork_rng(devices=[]):
        classifier = zoo.build(model, 2, HeadConfig(), image_size)
    prefix = Prefix(classifier.module, Precision(name, torch.device("cpu")), chunk=_PICTURES)
    size = classifier.preprocessing.image_size
    pictures = torch.zeros(_PICTURES, 3, size, size).to(memory_format=torch.channels_last)
    began = time.perf_counter()
    times = []
    for run in itertools.count():
        start = time.perf_counter()
        prefix(pictures)
        if run or start - began > _SECONDS:  # the first run sets up what the others use
            times.append(time.perf_counter() - start)
        if times and time.perf_counter() - began > _SECONDS:
            return min(times) / _PICTURES
    raise AssertionError


def _known() -> dict[str, dict[str, float]]:
    try:
        return msgspec.json.decode((cache_root() / "arithmetic.json").read_bytes(), type=dict[str, dict[str, float]])
    except (OSError, msgspec.DecodeError):
        return {}


def _remember(known: dict[str, dict[str, float]]) -> None:
    try:
        write_atomically(
            private_folder(cache_root()) / "arithmetic.json", msgspec.json.format(msgspec.json.encode(known))
        )
    except OSError:
        return  # it will be measured again
