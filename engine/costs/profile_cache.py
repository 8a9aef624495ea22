"""Caches profiles of this machine, since measuring takes seconds and the libraries. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.cache import memo
from engine.cache.folder import PROFILES
from engine.config.schema import HeadConfig, TrainConfig
from engine.system.cpu import processor_name
from engine.system.devices import versions

_VERSION = 2  # of the measurement and the file format
Kind = TypeVar("Kind", bound=msgspec.Struct)


def network(name: str, classes: int, image_size: int, head: HeadConfig, train: TrainConfig, channels: int = 3) -> str:
    """The cache key of a network's profile, without the machine."""
    image = f"{image_size}" if channels == 3 else f"{image_size} x {channels}"
    return f"network {name} {classes} {image} {head.hidden} {train.device} {train.precision} {train.batch_size}"


def loop(train: TrainConfig) -> str:
    """The cache key of the engine's overhead, without the machine."""
    return f"loop {train.device} {train.batch_size}"


def load(key: str, kind: type[Kind]) -> Kind | None:
    """Load a measurement made with these libraries and devices; None if there is none."""
    return memo.load(PROFILES, _full_key(key), kind)


def store(key: str, measured: msgspec.Struct) -> None:
    """Store a measurement, if the cache can be written."""
    memo.store(PROFILES, _full_key(key), measured)


def _full_key(key: str) -> str:
    return f"{_VERSION} {versions()} {processor_name()} {_cards()} {key}"


def _cards() -> list[str]:
    """The GPUs that the driver and the environment make visible to CUDA."""
    models = [
        line.partition(":")[2].strip()
        for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in card.read_text().splitlines()
        if line.startswith("Model")
    ]
    return [*models, os.environ.get("CUDA_VISIBLE_DEVICES", "all")]
