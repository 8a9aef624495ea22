"""``python -m tests.benchmarks.label_forms FOLDER``: solar cells with graded labels, learned in three forms.

Experts gave each cell (elpv, Deitsch et al. 2019) a probability of a defect: 0, 1/3, 2/3 or 1. It is learned as 0 or 1,
as a soft label of two classes, and as a number. Network, images, split and settings are the same: the head of
EfficientNet-Lite0 on frozen features at 96 px. AUC and accuracy are those of telling 0 and 1/3 from 2/3 and 1;
Spearman's correlation is with the experts' probability. All on test images.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from engine.runs.folder import RunFolder
from tests.conftest import Engine

SEEDS = (1, 2, 3)
FORMS = {
    "0 or 1": ("hard", "single", "1"),
    "soft label": ("soft", "single", "1"),
    "number": ("soft", "regression", "label"),
}
"""The table, the task and the column of the predictions that grows with a defect."""
SHARES = {"test": 0.15, "val": 0.15}


def main(folder: Path) -> None:
    """Print the mean over the seeds for each form, and the values of each seed."""
    write_tables(folder)
    print("form        AUC    accuracy  Spearman")  # noqa: T201
    for form, (table, task, column) in FORMS.items():
        found = [tested(folder, table, task, column, seed) for seed in SEEDS]
        auc, accuracy, correlation = map(fmean, zip(*found, strict=True))
        each = "  ".join(f"{a:.3f} {b:.1%} {c:.3f}" for a, b, c in found)
        print(f"{form:10}  {auc:.3f}  {accuracy:.1%}     {correlation:.3f}     ({each})", flush=True)  # noqa: T201


def write_tables(folder: Path) -> None:
    """Images, a table for each form, and a split that keeps the shares of probabilities and kinds of cells."""
    if (folder / "split.csv").exists():
        return
    from elpv_dataset.utils import load_dataset

    images, probabilities, kinds = load_dataset()
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    paths = [f"cells/{number:04}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(folder / path)
    split = np.full(len(images), "train")
    random = np.random.default_rng(0)
    for stratum in sorted(set(zip(probabilities, kinds, strict=True))):
        members = random.permutation(
            [at for at, one in enumerate(zip(probabilities, kinds, strict=True)) if one == stratum]
        )
        taken = 0
        for name, share in SHARES.items():
            count = round(share * len(members))
            split[members[taken : taken + count]] = name
            taken += count
    write(
        folder / "hard.csv",
        ("path", "label"),
        [(path, int(p >= 0.5)) for path, p in zip(paths, probabilities, strict=True)],
    )
    write(
        folder / "soft.csv",
        ("path", "label"),
        [(path, f"{p:.4f}") for path, p in zip(paths, probabilities, strict=True)],
    )
    write(folder / "split.csv", ("path", "split"), list(zip(paths, split.tolist(), strict=True)))


def write(path: Path, heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])


def settings(folder: Path, table: str, task: str, seed: int) -> RunConfig:
    """The defaults, with the head alone."""
    data = {"path": str(folder / f"{table}.csv"), "task": task, "split": str(folder / "split.csv"), "image_size": 96}
    train = {"seed": seed, "epochs": 30, "device": "cpu", "precision": "fp32"}
    return from_tables({"data": data, "model": {"name": "efficientnet_lite0"}, "train": train})


def tested(folder: Path, table: str, task: str, column: str, seed: int) -> tuple[float, float, float]:
    """AUC, accuracy and rank correlation of a run on the test images."""
    run, _, status = Engine(folder / "runs").run(settings(folder, table, task, seed))
    assert status == 0, run.log.read_text()
    return figures(run, folder / "soft.csv", column)


def figures(run: RunFolder, truth: Path, column: str) -> tuple[float, float, float]:
    """AUC, accuracy and rank correlation of a run's predictions with the experts' probabilities."""
    probability = {row["path"]: float(row["label"]) for row in read(truth)}
    rows = read(run.predictions)
    true = np.array([probability[row["path"]] for row in rows])
    predicted = np.array([float(row[column]) for row in rows])
    accuracy = float(((predicted >= 0.5) == (true >= 0.5)).mean())
    return roc_auc_score(true >= 0.5, predicted), accuracy, float(spearmanr(predicted, true).statistic)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
