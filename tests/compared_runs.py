"""Runs to compare: real folders with settings, events and predictions, made without training."""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path

from engine.config.toml_io import from_tables, to_toml
from engine.runs import events as p
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder

IMAGES = 200
RATES = (0.1, 0.01, 0.001, 0.0001)
"""The second is the best."""
EPOCHS = 8


def write_runs(runs: Path, count: int) -> list[RunFolder]:
    """So many completed runs, which differ in learning rate and seed, the first one the newest."""
    return [write_run(runs, f"{number:04x}-digits-resnet18", number) for number in range(count)]


def write_run(runs: Path, name: str, number: int, reason: str = "all epochs done") -> RunFolder:
    """The run that is ``number`` in a series: which also says how good it is and how long ago it was made."""
    folder = RunFolder(runs / name)
    folder.path.mkdir(parents=True)
    rate = RATES[number % len(RATES)]
    tables = {
        "data": {"source": "digits"},
        "model": {"name": "resnet18"},
        "optimizer": {"lr": rate},
        "train": {"epochs": EPOCHS, "seed": number},
    }
    folder.config.write_text(to_toml(from_tables(tables)))
    chance = random.Random(number)
    best = max(0.95 - 0.2 * abs(math.log10(rate) + 2) - 0.04 * chance.random(), 0.1)
    log = EventLog(folder)
    for event in (started(), ready(), *epochs(best), evaluated(best)):
        log.write(event)
    log.write(p.RunFinished(status="completed", reason=reason, seconds=60.0, exit_code=0))
    right = [chance.random() < best for _ in range(IMAGES)]
    rows = [f"{at}.png,cat,{'cat' if at_right else 'dog'}" for at, at_right in enumerate(right)]
    folder.predictions.write_text("\n".join(["path,true,predicted", *rows, ""]))
    began = time.time() - 3_600 - 60 * number
    os.utime(folder.config, (began, began))
    return folder


def started() -> p.RunStarted:
    """The engine begins."""
    return p.RunStarted(
        run="",
        versions={},
        device="cpu",
        device_name="CPU",
        precision="fp32",
        frozen_precision="fp32",
        process_id=1,
        seed=42,
        epochs=EPOCHS,
    )


def ready() -> p.ModelReady:
    """The network is there."""
    return p.ModelReady(
        name="resnet18",
        parameters=p.ParameterCounts(total=11_181_642, trainable=5_130, frozen=11_176_512),
        head=["fc"],
        input_size=224,
        rules=[],
        steps_per_epoch=40,
        weights=p.WeightsReport(source="here"),
    )


def epochs(best: float) -> list[p.Epoch]:
    """Epochs that come ever nearer to an accuracy of ``best``."""
    return [an_epoch(epoch, best * (1 - 0.6**epoch)) for epoch in range(1, EPOCHS + 1)]


def an_epoch(epoch: int, accuracy: float) -> p.Epoch:
    """One with this validation accuracy."""
    return p.Epoch(
        epoch=epoch,
        step=40 * epoch,
        train_loss=1.5 - accuracy,
        train_accuracy=accuracy,
        val_loss=1.6 - accuracy,
        val_accuracy=accuracy,
        seconds=4.0,
        frozen_digest="",
        frozen_unchanged=True,
    )


def evaluated(accuracy: float) -> p.Evaluated:
    """The test split."""
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / IMAGES)
    return p.Evaluated(
        split="test",
        count=IMAGES,
        log_loss=1.5 - accuracy,
        accuracy=accuracy,
        accuracy_interval=(accuracy - half, min(accuracy + half, 1.0)),
        balanced_accuracy=accuracy,
        macro_f1=accuracy,
        classes=["cat", "dog"],
        per_class=[
            p.ClassMetrics(label=label, precision=accuracy, recall=accuracy, f1=accuracy, support=IMAGES // 2)
            for label in ("cat", "dog")
        ],
        confusion=[[IMAGES // 2, 0], [0, IMAGES // 2]],
        images_per_second=400.0,
    )
