"""Runs that look the same today and tomorrow, for images of the app. ``python -m tests.ui.still_life`` draws one."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does for the tests beside

from app_runs import answering
from folded_runs import beginning, new_plan, training
from networks import as_json, resnet18

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, to_toml
from engine.runs import events as p
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder
from tltui.app.app import TltuiApp

CLASSES = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
CONFUSION = [[38, 1, 0, 1, 0], [0, 39, 0, 1, 0], [1, 0, 35, 0, 4], [0, 2, 0, 38, 0], [0, 0, 6, 0, 34]]
LAST_STAGE = ["freeze *", "train layer4", "train head"]


def config(**train: object) -> RunConfig:
    """Flowers on ResNet-18."""
    tables = {"data": {"path": "/data/flowers"}, "model": {"name": "resnet18"}, "train": {"epochs": 10, **train}}
    return from_tables(tables)


def write_run(runs: Path, name: str, days: int, epochs: int, status: str | None, reason: str = "") -> RunFolder:
    """A run of ``epochs`` epochs that began so many days ago; ``status`` None: it never came to an end."""
    folder = RunFolder(runs / name)
    folder.path.mkdir(parents=True)
    folder.config.write_text(to_toml(config()))
    folder.model.write_bytes(as_json(resnet18()))
    log = EventLog(folder)
    events = [*beginning(10, 40, classes=tuple(CLASSES)), *training(range(1, epochs * 40 + 1), 40)]
    if epochs > 4:
        events.insert(3 + 164, new_plan(160, LAST_STAGE))
    if status == "completed":
        events.append(evaluated())
    if status is not None:
        code = {"completed": 0, "stopped": 130, "failed": 1}[status]
        events.append(p.RunFinished(status=status, reason=reason, seconds=754.0, exit_code=code))  # type: ignore[arg-type]
    for event in events:
        log.write(event)
    began = time.time() - days * 86_400 - 3_600
    os.utime(folder.config, (began, began))
    return folder


def evaluated() -> p.Evaluated:
    """The test split."""
    columns = [sum(row[at] for row in CONFUSION) for at in range(len(CLASSES))]
    per_class = []
    for at, label in enumerate(CLASSES):
        right, support = CONFUSION[at][at], sum(CONFUSION[at])
        precision, recall = right / columns[at], right / support
        f1 = 2 * precision * recall / (precision + recall)
        per_class.append(
            p.ClassMetrics(
                label=label, precision=precision, recall=recall, f1=f1, support=support, roc_auc=0.9 + f1 / 12
            )
        )
    return p.Evaluated(
        split="test",
        count=200,
        log_loss=0.21,
        accuracy=0.92,
        accuracy_interval=(0.8743, 0.9500),
        balanced_accuracy=0.92,
        macro_f1=0.9196,
        classes=CLASSES,
        per_class=per_class,
        confusion=CONFUSION,
        images_per_second=400.0,
        weighted_f1=0.9196,
        roc_auc=0.984,
        average_precision=0.951,
        ece=0.031,
        reliability=[
            p.ReliabilityBin(count=9, confidence=0.44, accuracy=1 / 3),
            p.ReliabilityBin(count=22, confidence=0.63, accuracy=15 / 22),
            p.ReliabilityBin(count=31, confidence=0.82, accuracy=25 / 31),
            p.ReliabilityBin(count=138, confidence=0.97, accuracy=136 / 138),
        ],
    )


def runs_folder(parent: Path) -> Path:
    """Three runs that ended in three ways."""
    runs = parent / "runs"
    write_run(runs, "c0de-flowers-resnet18", 1, 10, "completed", "all 10 epochs done")
    write_run(runs, "b1ee-flowers-resnet18", 2, 3, "stopped", "stop command after step 120")
    write_run(runs, "a1fa-flowers-resnet18", 9, 1, "failed", "the loss became nan at step 41")
    return runs


def app(parent: Path, *, run: str = "", theme: str = "tltui-dark") -> TltuiApp:
    """The app on those runs, opened on one of them."""
    runs = runs_folder(parent)
    opened = RunFolder(runs / run) if run else None
    return TltuiApp(runs, open_run=opened, theme=theme, queries=answering(), config_dir=parent / "config")


async def _image() -> str:
    with tempfile.TemporaryDirectory() as folder:
        shown = app(Path(folder), run="c0de-flowers-resnet18")
        async with shown.run_test(size=(120, 40)) as pilot:
            await pilot.pause(1.0)
            return shown.export_screenshot(title="tltui")


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(_image()))
