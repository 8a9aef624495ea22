"""``python -m tests.benchmarks.advice FOLDER``: test accuracy as ``tltui probe`` advises, beside the default's.

The network is EfficientNet-Lite0 with ImageNet weights, at 96 px for ten epochs; the default trains the head alone.
The thresholds of the advice were chosen on other parts of digits and of the solar cells; letters and signs, which are
drawn, and the types of cells had no say.

With ``--exhaustive``, for three of the tasks: beside both the plan that does best in validation among many, from the
head alone to everything, each at several rates of the backbone; they are the trials of a sweep, which the same
command goes on with after an interruption. Of test images only the last number takes the best: what an oracle gets.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, with_settings
from engine.experiments.linear_probe.probe import run_linear_probe
from engine.experiments.linear_probe.recommendation import HEAD_RATE
from engine.experiments.sweep.definition import define
from engine.experiments.sweep.definition import from_tables as sweep_file
from engine.experiments.sweep.events import SweepResults
from engine.experiments.sweep.results import results
from engine.experiments.sweep.study import open_study
from engine.experiments.sweep.worker import Worker
from engine.models.layer_tree import describe
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.progress import quiet
from engine.runs.state import fold_all
from tests.benchmarks.diagnosis_runs import write_images
from tests.conftest import Engine

SEEDS = (1, 2)
VAL, TEST = 20, 300  # images a class, at most
TASKS = {  # training images a class
    "digits": (15, 100),
    "letters": (15, 60),
    "signs": (15, 80),
    "solar": (60,),
    "cells": (40,),
}
EXHAUSTIVE = {"letters": 15, "signs": 15, "digits": 15}
PLAN = "freeze.rules, optimizer.lr, optimizer.backbone_lr_factor"
LAST = (1, 2, 3, 4, 6)  # stages, of nine, besides none and all
FACTORS = (0.1, 0.3, 1.0)  # rate of the backbone by that of the head


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.advice")
    parser.add_argument("folder", type=Path, help="where images and runs are kept")
    parser.add_argument("--exhaustive", action="store_true", help="also try every plan, on three of the tasks")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    with_every_plan(folder) if asked.exhaustive else with_defaults(folder)


def with_defaults(folder: Path) -> None:
    """Print a line for each task and seed."""
    print("task, images a class, seed: default → advised test accuracy, what was advised")  # noqa: T201
    for task, sizes in TASKS.items():
        write_cells(folder) if task == "cells" else write_images(folder, task)
        for a_class in sizes:
            table = write_table(folder, task, a_class)
            for seed in SEEDS:
                print(f"{task:8} {a_class:>4} {seed:>2}: {compared(folder, table, seed)}", flush=True)  # noqa: T201


def with_every_plan(folder: Path) -> None:
    """Print for each task what the default and the advice make of it, and the best of all plans."""
    for task, a_class in EXHAUSTIVE.items():
        write_images(folder, task)
        table = write_table(folder, task, a_class)
        found = every_plan(folder, table)
        assert found.best
        for seed in SEEDS:
            best = accuracy(folder, with_settings(settings(table, seed), found.best.settings))
            print(f"{task:8} {a_class:>4} {seed:>2}: {compared(folder, table, seed)}; best plan {best:.1%}", flush=True)  # noqa: T201
        tested = {trial.trial: tested_accuracy(RunFolder(Path(trial.run))) for trial in found.trials}
        oracle = max(found.trials, key=lambda trial: tested[trial.trial])
        minutes = sum(trial.seconds for trial in found.trials) / 60
        print(f"  {len(found.trials)} plans, seed {SEEDS[0]}, {minutes:.0f} minutes of training")  # noqa: T201
        print(f"  best in validation, {found.best.val_accuracy:.1%}: {found.best.settings}")  # noqa: T201
        print(f"  best in test, {tested[oracle.trial]:.1%}: {oracle.settings}", flush=True)  # noqa: T201


def compared(folder: Path, table: Path, seed: int) -> str:
    """Test accuracy with the defaults and as it is advised, and what that is."""
    default = settings(table, seed)
    advice = run_linear_probe(default, [default.model.name], quiet, lambda *_: None).recommendation
    before, after = (accuracy(folder, one) for one in (default, with_settings(default, advice.settings)))
    return f"{before:.1%} → {after:.1%}  {advice.trains}, large {advice.large}, similar {advice.similar}"


def every_plan(folder: Path, table: Path) -> SweepResults:
    """A sweep over all plans with the first seed."""
    config = settings(table, SEEDS[0])
    tables = {"base": "the default", "sampler": "grid", "pruner": "none", "space": {PLAN: plans(config)}}
    sweep = define(table.with_suffix(".toml"), sweep_file(tables, ""), config)
    study = open_study(sweep, f"sqlite:///{folder / 'sweeps.db'}")
    Worker(study, folder / "runs", lambda _: None).work(lambda: False)
    return results(study)


def plans(config: RunConfig) -> list[list[Any]]:
    """Rules, rate of the head and factor for the backbone: the head alone, some last stages, everything."""
    stages = [stage.paths for stage in describe(config.model.name, 2, config.data.image_size, config.head).stages]
    head = ["freeze *", "train head"]
    last = [[*head, *(f"train {path}" for paths in stages[-k:] for path in paths)] for k in LAST]
    alone = [[head, rate, config.optimizer.backbone_lr_factor] for rate in (config.optimizer.lr, HEAD_RATE)]
    return [*alone, *([rules, HEAD_RATE, factor] for rules in [*last, ["train *"]] for factor in FACTORS)]


def write_cells(folder: Path) -> None:
    """Solar cells (elpv, Deitsch et al. 2019), of one crystal or of many, unless they are there."""
    if (folder / "cells" / "labels.csv").exists():
        return
    from elpv_dataset.utils import load_dataset

    (folder / "cells").mkdir(parents=True, exist_ok=True)
    images, _, types = load_dataset()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / "cells" / f"{number:04}.png")
    with (folder / "cells" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows((f"cells/{number:04}.png", label) for number, label in enumerate(types))


def write_table(folder: Path, task: str, a_class: int) -> Path:
    """A table with so many training images a class, and with images for validation and test."""
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
    """Train, and evaluate the best epoch on the test images."""
    run, _, status = Engine(folder / "runs").run(config)
    assert status == 0
    return tested_accuracy(run)


def tested_accuracy(run: RunFolder) -> float:
    """Of a run that came to its end."""
    return fold_all(EventTail(run).poll()).evaluations["test"].accuracy


if __name__ == "__main__":
    main()
