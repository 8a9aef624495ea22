"""The short run that is interrupted in every way, and what two runs of it must have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from safetensors.numpy import load_file

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from engine.runs.commands import SaveCheckpoint, Set
from engine.runs.event_log import EventTail
from engine.runs.events import (
    AnyEvent,
    CommandApplied,
    CommandRejected,
    Epoch,
    Forgetting,
    Layers,
    Phase,
    Step,
)
from engine.runs.folder import RunFolder
from engine.runs.replay import key
from tests.conftest import TINY, make_images, make_weights
from tests.faults.lives import Script

STEPS = 15


def short_config(root: Path) -> RunConfig:
    """Three epochs of a tiny network on 60 images, with dropout, augmentation, clipping and a schedule."""
    images = root / "images"
    if not images.exists():
        make_images(images, 20)
        make_weights(root / "weights.pt")
    return from_tables(
        {
            "data": {
                "path": str(images), "image_size": 32, "val_fraction": 0.15, "test_fraction": 0.15,
                "augment": "standard", "views": 2, "workers": 0,
            },
            "model": {**TINY, "weights": str(root / "weights.pt")},
            "head": {"hidden": [16], "dropout": 0.3},
            "freeze": {"rules": ["freeze *", "train layer4", "train head"]},
            "optimizer": {"lr": 0.01, "clip_norm": 0.5},
            "schedule": {"name": "onecycle"},
            "train": {"epochs": 3, "batch_size": 9, "device": "cpu", "precision": "fp32"},
        }
    )  # fmt: skip


def script() -> Script:
    """What is asked of the run on its way: layers frozen and trained again, another rate, a checkpoint."""
    return [
        (3, SaveCheckpoint(id="checkpoint")),
        (6, Set(id="thaw", key="freeze.rules", value=["freeze *", "train layer3", "train layer4", "train head"])),
        (7, Set(id="rate", key="optimizer.lr", value=0.004)),
        (9, Set(id="refused", key="optimizer.name", value="sgd")),
        (11, Set(id="freeze", key="freeze.rules", value=["freeze *", "train head"])),
        (13, Set(id="again", key="freeze.rules", value=["freeze *", "train layer4", "train head"])),
    ]


@dataclass(frozen=True)
class Outcome:
    """What an interruption must not change."""

    weights: dict[str, bytes]
    optimizer: dict[str, bytes]
    steps: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    phases: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    forgetting: list[dict[str, Any]]
    answers: list[tuple[str, str, int]]
    predictions: bytes

    @classmethod
    def of(cls, folder: RunFolder) -> Outcome:
        """That of a run that is completed."""
        events = list(EventTail(folder).poll())
        last = folder.checkpoints / "last"
        return cls(
            weights=_tensors(last / "model.safetensors"),
            optimizer=_tensors(last / "optimizer.safetensors"),
            steps=[_without(event, "seq", "time", "images_per_second") for event in events if isinstance(event, Step)],
            epochs=[_without(event, "seq", "time", "seconds") for event in events if isinstance(event, Epoch)],
            phases=[_without(event, "seq", "time") for event in events if isinstance(event, Phase)],
            layers=[_without(event, "seq", "time") for event in events if isinstance(event, Layers)],
            forgetting=[_without(event, "seq", "time") for event in events if isinstance(event, Forgetting)],
            answers=[
                (type(event).__name__, key(event.command), event.step)
                for event in events
                if isinstance(event, CommandApplied | CommandRejected)
            ],
            predictions=folder.predictions.read_bytes() if folder.predictions.exists() else b"",
        )

    def difference(self, other: Outcome) -> list[str]:
        """The names of what is not the same."""
        return [name for name in self.__dataclass_fields__ if getattr(self, name) != getattr(other, name)]


def log_problems(folder: RunFolder) -> list[str]:
    """What is wrong with a run's log: numbers that are missing or twice, lines that are no events, steps told twice."""
    tail = EventTail(folder)
    events: list[AnyEvent] = list(tail.poll())
    found = []
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        found.append("numbers with a gap")
    if tail.broken:
        found.append(f"{tail.broken} broken lines")
    steps = Counter(event.step for event in events if isinstance(event, Step))
    if steps and (max(steps.values()) > 1 or sorted(steps) != list(range(1, max(steps) + 1))):
        found.append("steps missing or told twice")
    return found


def _tensors(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(path).items()}


def _without(event: AnyEvent, *names: str) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(event).items() if name not in names}
