"""Measures the engine's overhead around a network, in a real run of a tiny network."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from engine.config.toml_io import from_tables
from engine.costs.estimate import LoopCosts
from engine.data.loaders import batch_count
from engine.errors import InputError
from engine.runs.event_log import EventTail
from engine.runs.events import Epoch, Step
from engine.runs.folder import create
from engine.system.interpreter import environment, python_module

_NETWORK = "timm/test_resnet"
_SIDE = 32
_STEPS = 8
_EPOCHS = 8
_LARGEST_BATCH = 256  # larger batches have hardly more overhead, but need more images


def measure_loop(batch_size: int, device: str) -> LoopCosts:
    """Train the head of a tiny network on tiny images, in a subprocess with its own cache.

    Raises InputError where that run fails.
    """
    batch_size = min(batch_size, _LARGEST_BATCH)
    train, val = _STEPS * batch_size, _STEPS // 2 * batch_size
    with tempfile.TemporaryDirectory(prefix="tltui-") as place:
        root = Path(place)
        _write_images(root / "images", {"train": train, "val": val})
        config = from_tables(
            {
                "data": {"path": str(root / "images"), "image_size": _SIDE},
                "model": {"name": _NETWORK, "weights": "none"},
                "train": {"epochs": _EPOCHS, "batch_size": batch_size, "device": device, "precision": "fp32"},
            }
        )
        folder = create(root / "runs", config)
        with folder.open_log() as log:
            engine = subprocess.Popen(
                python_module("engine.process.worker", str(folder.path)),
                env=environment(TLTUI_CACHE=str(root / "cache")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            _, status, usage = os.wait4(engine.pid, 0)
        engine.returncode = os.waitstatus_to_exitcode(status)
        if engine.returncode:
            raise InputError(
                f"the cost measurement failed: {folder.log.read_text(errors='replace')[-500:]}; run `tltui doctor`"
            )
        events = list(EventTail(folder).poll())
    epochs = [event for event in events if isinstance(event, Epoch)]
    steps = [event for event in events if isinstance(event, Step)]
    # The first epoch fills the cache. Other processes only ever slow a measurement down: take low quantiles.
    step, *_ = statistics.quantiles((b.time - a.time for a, b in pairwise(steps) if a.epoch == b.epoch > 1), n=4)
    whole = min(b.time - a.time for a, b in pairwise(epochs))
    training = min(epoch.seconds for epoch in epochs[1:])
    return LoopCosts(
        step=step,
        evaluation_step=max(training - _STEPS * step, 0.0) / batch_count(val, batch_size),
        epoch=max(whole - training, 0.0),
        memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def _write_images(root: Path, counts: dict[str, int]) -> None:
    random = np.random.default_rng(0)
    for split, count in counts.items():
        for number in range(count):
            folder = root / split / ("a" if number % 2 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (_SIDE, _SIDE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.bmp")
