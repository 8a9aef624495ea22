"""Tables of images whose labels, numbers and ranks are known: they follow from the images' colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from tests.conftest import TINY

COLOURS = ("red", "green", "blue")
COUNT = 60


def make_tables(root: Path) -> Path:
    """Images, and a table of them for each task: TASK.csv."""
    random = np.random.default_rng(0)
    tables = {
        "multilabel": ["path,label"],
        "regression": ["path,brightness,level"],
        "ordinal": ["path,label"],
        "single": ["path,pale,red"],
    }
    for at in range(COUNT):
        flags = random.random(3) < 0.5
        flags[at % 3] = True
        level = random.random()
        pixels = random.integers(0, 40, (40, 40, 3)) + 120 * flags
        pixels[:20] += int(80 * level)
        name = f"{at:02}.png"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)
        tables["multilabel"].append(f"{name},{';'.join(np.array(COLOURS)[flags])}")
        tables["regression"].append(f"{name},{pixels.mean():.3f},{level:.4f}")
        tables["ordinal"].append(f"{name},{int(3 * level)}")
        red = 0.2 * level + 0.8 * flags[0]
        tables["single"].append(f"{name},{1 - red:.4f},{red:.4f}")
    for task, lines in tables.items():
        (root / f"{task}.csv").write_text("\n".join(lines) + "\n")
    return root


def table_config(root: Path, task: str, **sections: dict[str, Any]) -> RunConfig:
    """A run of the tiny network on one of these tables."""
    columns = ["brightness", "level"] if task == "regression" else []
    tables: dict[str, dict[str, Any]] = {
        "data": {
            "source": "csv", "path": str(root / f"{task}.csv"), "label_column": columns, "image_size": 32,
            "val_fraction": 0.25, "test_fraction": 0.25, "workers": 0,
        },
        "model": dict(TINY),
        "head": {"dropout": 0.3},
        "freeze": {"rules": []},
        "optimizer": {"lr": 0.01},
        "train": {"epochs": 3, "batch_size": 8, "device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    for name, values in sections.items():
        tables.setdefault(name, {}).update(values)
    return from_tables(tables)
