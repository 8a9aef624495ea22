"""What was measured on this machine before: measuring takes seconds and the libraries, reading it neither.

Imports no torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.cache import memo
from engine.cache.eviction import PROFILES
from engine.config.schema import HeadConfig, TrainConfig
from engine.system.cpu import processor_name
from engine.system.devices import versions

_VERSION = 2  # of what is measured and how it is kept
Kind = TypeVar("Kind", bound=msgspec.Struct)


def network(name: str, classes: int, image_size: int, head: HeadConfig, train: TrainConfig) -> str:
    """All that the profile of a network depends on, the machine aside."""
    return f"network {name} {classes} {image_size} {head.hidden} {train.device} {train.precision} {train.batch_size}"


def loop(train: TrainConfig) -> str:
    """All that the engine's own costs depend on, the machine aside."""
    return f"loop {train.device} {train.batch_size}"


def look(what: str, kind: type[Kind]) -> Kind | None:
    """What was measured of ``what``, if it was, with these libraries and devices."""
    return memo.look(PROFILES, _identity(what), kind)


def remember(what: str, measured: msgspec.Struct) -> None:
    """Keep what was measured for next time."""
    memo.remember(PROFILES, _identity(what), measured)


def _identity(what: str) -> str:
    return f"{_VERSION} {versions()} {processor_name()} {_cards()} {what}"


def _cards() -> list[str]:
    """The graphics cards that the driver and the environment offer to CUDA."""
    models = [
        line.partition(":")[2].strip()
        for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in card.read_text().splitlines()
        if line.startswith("Model")
    ]
    return [*models, os.environ.get("CUDA_VISIBLE_DEVICES", "all")]
