"""``python -m tests.benchmarks.advice FOLDER``: test accuracy as ``tltui probe`` advises, beside the default's.

The network is EfficientNet-Lite0 with ImageNet weights, at 96 px for ten epochs; the default trains the head alone.
The thresholds of the advice were chosen on other parts of digits and of the solar cells; letters and signs, which are
drawn, and the types of cells had no say.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from engine.config import RunConfig, from_tables, with_settings
from engine.experiments.probe import probe_for
from engine.progress import quiet
from tests.benchmarks.diagnosis_runs import write_pictures
from tests.conftest import Engine

SEEDS = (1, 2)
VAL, TEST = 20, 300  # pictures a class, at most
TASKS = {  # training pictures a class
    "digits": (15, 100),
    "letters": (15, 60),
    "signs": (15, 80),
    "solar": (60,),
    "cells": (40,),
}


def main(folder: Path) -> None:
    """Print a line for each task and seed."""
    print("task, pictures a class, seed: default → advised test accuracy, what was advised")  # noqa: T201
    for task, sizes in TASKS.items():
        write_cells(folder) if task == "cells" else write_pictures(folder, task)
        for a_class in sizes:
            table = write_table(folder, task, a_class)
            for seed in SEEDS:
                default = settings(table, seed)
                advice = probe_for(default, [default.model.name], quiet, lambda *_: None).recommendation
                before, after = (accuracy(folder, one) for one in (default, with_settings(default, advice.settings)))
                case = f"{advice.trains}, large {advice.large}, similar {advice.similar}"
                print(f"{task:8} {a_class:>4} {seed:>2}: {before:.1%} → {after:.1%}  {case}", flush=True)  # noqa: T201


def write_cells(folder: Path) -> None:
    """Solar cells (elpv, Deitsch et al. 2019), of one crystal or of many, unless they are there."""
    if (folder / "cells" / "labels.csv").exists():
        return
    from elpv_dataset.utils import load_dataset

    (folder / "cells").mkdir(parents=True, exist_ok=True)
    pictures, _, types = load_dataset()
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / "cells" / f"{number:04}.png")
    with (folder / "cells" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows((f"cells/{number:04}.png", label) for number, label in enumerate(types))


def write_table(folder: Path, task: str, a_class: int) -> Path:
    """A table with so many training pictures a class, and with pictures for validation and test."""
    with (folder / task / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    by_label: dict[str, list[str]] = defaultdict(list)
    for at in np.random.default_rng(0).permutation(len(rows)):
        by_label[rows[at][1]].append(rows[at][0])
    table = folder / f"{task}-{a_class}.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for label, paths in by_label.items():
            parts = np.split(np.array(paths[: a_class + VAL + TEST]), [a_class, a_class + VAL])
            for split, part in zip(("train", "val", "test"), parts, strict=True):
                writer.writerows((path, label, split) for path in part)
    return table


def settings(table: Path, seed: int) -> RunConfig:
    """The default, with the head alone."""
    data = {"source": "csv", "path": str(table), "image_size": 96}
    return from_tables({"data": data, "model": {"name": "efficientnet_lite0"}, "train": {"seed": seed}})


def accuracy(folder: Path, config: RunConfig) -> float:
    """Train, and evaluate the best epoch on the test pictures."""
    _, state, status = Engine(folder / "runs").run(config)
    assert status == 0
    return state.evaluations["test"].accuracy


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
