"""Runs that are made to show what `engine.diagnosis.diagnose` is to find, and runs that are well.

Small images, small networks, seconds each. The rules were tuned on digits and letters; signs and solar cells are held
out.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables

_LETTERS = "ABDEFGHKMRSW"
_SIGNS = "&%@?#+=*"
_PER_LETTER, _PER_SIGN = 110, 160
_SOLAR_CELLS = 1000
_HELD_OUT = ("signs", "solar")

Images = list[tuple[npt.NDArray[np.uint8], str]]
Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Made:
    """A run to be made: ``shows`` are the cases that it is made for, ``may_show`` those that it may have as well, which
    count neither for nor against a rule."""

    name: str
    data: str
    settings: Tables
    shows: frozenset[str] = frozenset()
    may_show: frozenset[str] = frozenset()
    keep: int = 800  # images in all, 520 of which train
    noise: float = 0.0  # share of labels that are those of another class, chosen at random
    rare: float = 1.0  # share that is kept of every other class

    @property
    def held_out(self) -> bool:
        return self.data in _HELD_OUT

    def config(self, folder: Path) -> RunConfig:
        """The run's settings; its table of images is written to ``folder``, beside the images."""
        table = folder / f"{self.name}.csv"
        _write_table(self, table)
        tables: dict[str, dict[str, Any]] = {"data": {"source": "csv", "path": str(table)}}
        for section, values in self.settings.items():
            tables.setdefault(section, {}).update(values)
        tables.setdefault("train", {}).update(device="cpu", precision="fp32")
        return from_tables(tables)


def write_images(folder: Path, data: str) -> None:
    """Write the images of ``data`` with their labels, unless they are there."""
    target = folder / data
    if (target / "labels.csv").exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (pixels, label) in enumerate(_MAKERS[data]()):
        Image.fromarray(pixels).save(target / f"{number:04}.png")
        rows.append((f"{data}/{number:04}.png", label))
    with (target / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _write_table(made: Made, table: Path) -> None:
    write_images(table.parent, made.data)
    with (table.parent / made.data / "labels.csv").open(newline="") as file:
        rows = [(path, label) for path, label in csv.reader(file)]
    random = np.random.default_rng(1)
    classes = sorted({label for _, label in rows})
    few = set(classes[1::2])
    rows = [row for row in rows if row[1] not in few or random.random() < made.rare]
    rows = [rows[at] for at in sorted(random.permutation(len(rows))[: made.keep])]
    noisy = [
        (path, str(random.choice([one for one in classes if one != label])) if random.random() < made.noise else label)
        for path, label in rows
    ]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *noisy])


def _digits() -> Images:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)
    return list(zip(pixels, map(str, digits.target), strict=True))


def _letters() -> Images:
    """Letters of Pillow's own font, turned, moved, of any grey on any other, with noise."""
    random = np.random.default_rng(0)
    made: Images = []
    for letter, _ in itertools.product(_LETTERS, range(_PER_LETTER)):
        background, ink = random.permutation([random.integers(0, 110), random.integers(130, 255)])
        image = Image.new("L", (32, 32), int(background))
        font = ImageFont.load_default(int(random.integers(19, 26)))
        at = (float(random.integers(14, 19)), float(random.integers(14, 19)))
        ImageDraw.Draw(image).text(at, letter, int(ink), font, anchor="mm")
        image = image.rotate(float(random.normal(0, 7)), Image.Resampling.BILINEAR, fillcolor=int(background))
        pixels = np.asarray(image) + random.normal(0, 10, (32, 32))
        made.append((pixels.clip(0, 255).astype(np.uint8), letter))
    return made


def _signs() -> Images:
    """Signs in any colour over a pattern of two others, turned and moved."""
    random = np.random.default_rng(0)
    made: Images = []
    for sign, _ in itertools.product(_SIGNS, range(_PER_SIGN)):
        dark, light, ink = (
            tuple(int(one) for one in random.integers(*span, 3)) for span in ((0, 90), (50, 130), (150, 255))
        )
        image = Image.new("RGB", (40, 40), dark)
        draw = ImageDraw.Draw(image)
        for at in range(0, 40, int(random.integers(4, 12))):
            draw.line((0, at, 40, at + int(random.integers(-8, 8))), light)
        font = ImageFont.load_default(int(random.integers(20, 32)))
        draw.text((float(random.integers(17, 24)), float(random.integers(17, 24))), sign, ink, font, anchor="mm")
        turned = image.rotate(float(random.normal(0, 10)), Image.Resampling.BILINEAR, fillcolor=dark)
        made.append((np.asarray(turned), sign))
    return made


def _solar() -> Images:
    """Solar cells (elpv, Deitsch et al. 2019) of which the experts were sure."""
    from elpv_dataset.utils import load_dataset

    images, probabilities, _ = load_dataset()
    sure = np.flatnonzero((probabilities == 0) | (probabilities == 1))
    chosen = np.random.default_rng(1).permutation(sure)[:_SOLAR_CELLS]
    small = [np.asarray(Image.fromarray(images[at]).resize((64, 64), Image.Resampling.BOX)) for at in chosen]
    return [
        (pixels, "defective" if probabilities[at] else "functional") for pixels, at in zip(small, chosen, strict=True)
    ]


_MAKERS = {"digits": _digits, "letters": _letters, "signs": _signs, "solar": _solar}

# The networks: a small one from random weights, and a pretrained one of which the head or all of it trains.
_SMALL = {"model": {"name": "timm/test_resnet", "weights": "none"}, "freeze": {"rules": ["train *"]}}
_HEAD = {"model": {"name": "efficientnet_lite0"}}
_ALL = {"model": {"name": "efficientnet_lite0"}, "freeze": {"rules": ["train *"]}}
_RANDOM = {"model": {"name": "timm/test_resnet", "weights": "none"}}  # frozen as it is: nothing much can be learned
_CONSTANT = {"name": "constant"}


def _with(network: Tables, epochs: int, lr: float, **more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    side = 32 if network is not _HEAD else 64
    tables: dict[str, dict[str, Any]] = {section: dict(values) for section, values in network.items()}
    tables["data"] = {"image_size": side, "workers": 0, "val_fraction": 0.3, "test_fraction": 0.05}
    tables["train"] = {"epochs": epochs}
    factor = 1.0 if network is _SMALL else 0.1
    tables["optimizer"] = {"lr": lr, "backbone_lr_factor": factor}
    for section, values in more.items():
        tables.setdefault(section, {}).update(values)
    return tables


@dataclass
class _Recipes:
    """All runs on one data set."""

    data: str
    found: list[Made] = field(default_factory=list)

    def add(self, name: str, settings: Tables, *shows: str, may: str = "", **change: Any) -> None:  # noqa: ANN401
        if self.data in _HELD_OUT:  # other splits, orders and heads than any rule was ever looked at with
            train = settings["train"]
            settings = {**settings, "train": {**train, "seed": train.get("seed", 42) + 1000}}
        self.found.append(
            Made(f"{self.data}-{name}", self.data, settings, frozenset(shows), frozenset(may.split()), **change)
        )

    def healthy(self) -> None:
        self.add("well-head", _with(_HEAD, 20, 3e-3))
        self.add("well-head-constant", _with(_HEAD, 12, 3e-3, schedule=_CONSTANT))
        self.add("well-head-batch-4", _with(_HEAD, 8, 1e-3, train={"batch_size": 4}))
        self.add("well-small", _with(_SMALL, 15, 3e-3))
        longer = 2 if self.data in ("letters", "signs") else 1  # of which a network without weights learns more slowly
        self.add(
            "well-small-sgd", _with(_SMALL, 15 * longer, 0.02, optimizer={"name": "sgd"}, schedule={"name": "onecycle"})
        )
        self.add("well-small-flip", _with(_SMALL, 12 * longer, 2e-3, data={"augment": "standard"}, train={"seed": 7}))
        self.add("well-all", _with(_ALL, 12, 3e-3))
        self.add("well-all-warm", _with(_ALL, 10, 3e-3, schedule={"warmup_epochs": 1.0}, train={"seed": 7}))
        self.add("well-slightly-uneven", _with(_HEAD, 12, 3e-3), rare=0.6)

    def overfitting(self) -> None:
        for seed in (1, 2):
            head = _with(
                _HEAD, 40, 1e-2, schedule=_CONSTANT, head={"dropout": 0.0, "hidden": [256]}, train={"seed": seed}
            )
            head["data"]["image_size"] = 32
            self.add(f"overfits-head-{seed}", head, "overfitting", keep=200)
            every = _with(_ALL, 25, 2e-3, schedule=_CONSTANT, train={"seed": seed}, head={"dropout": 0.0})
            self.add(f"overfits-all-{seed}", every, "overfitting", keep=120)

    def underfitting(self) -> None:
        for seed in (1, 2):
            self.add(f"underfits-random-{seed}", _with(_RANDOM, 30, 1e-2, train={"seed": seed}), "underfitting")
        random = _with({**_HEAD, "model": {**_HEAD["model"], "weights": "none"}}, 20, 3e-3)
        self.add("underfits-random-lite0", random, "underfitting")
        dropped = _with(_HEAD, 15, 3e-3, head={"dropout": 0.99}, data={"image_size": 32})
        self.add("underfits-dropout", dropped, "underfitting")

    def rates(self) -> None:
        for lr in (0.3, 3.0):
            self.add(f"too-high-small-{lr}", _with(_SMALL, 10, lr, schedule=_CONSTANT), "learning rate too high")
        sgd: dict[str, Any] = {"name": "sgd", "clip_norm": 0.0}
        self.add(
            "too-high-sgd", _with(_SMALL, 10, 10.0, optimizer=sgd, train={"on_nan": "skip"}), "learning rate too high"
        )
        self.add(
            "too-high-sgd-clipped",
            _with(_SMALL, 15, 1.0, optimizer={"name": "sgd"}, schedule=_CONSTANT),
            "learning rate too high",
        )
        self.add("too-high-head", _with(_HEAD, 10, 3.0), "learning rate too high")
        self.add("too-high-all", _with(_ALL, 6, 1.0), "learning rate too high")
        for lr in (1e-6, 1e-5, 1e-4):
            self.add(f"too-low-small-{lr:g}", _with(_SMALL, 10, lr), "learning rate too low")
        self.add("too-low-sgd", _with(_SMALL, 10, 3e-5, optimizer={"name": "sgd"}), "learning rate too low")
        self.add("too-low-head", _with(_HEAD, 10, 1e-5), "learning rate too low")
        self.add("too-low-all", _with(_ALL, 6, 1e-5), "learning rate too low")

    def plateau(self) -> None:
        moved: dict[str, Any] = {"augment": "standard"}
        for seed in (1, 2):
            adamw = _with(_SMALL, 25, 5e-2, schedule=_CONSTANT, data=moved, train={"seed": seed})
            self.add(f"plateau-small-{seed}", adamw, "plateau", may="underfitting")
        sgd = _with(_SMALL, 25, 0.1, schedule=_CONSTANT, data=moved, optimizer={"name": "sgd"})
        self.add("plateau-sgd", sgd, "plateau", may="underfitting")
        head = _with(_HEAD, 25, 0.01, schedule=_CONSTANT, data=moved)
        self.add("plateau-head", head, "plateau", may="underfitting")

    def data_troubles(self) -> None:
        self.add("noisy-head", _with(_HEAD, 15, 3e-3), "noisy labels", may="overfitting", noise=0.3)
        self.add("noisy-small", _with(_SMALL, 15, 3e-3), "noisy labels", may="overfitting", noise=0.3)
        self.add("noisy-all", _with(_ALL, 8, 1e-3), "noisy labels", may="overfitting", noise=0.4)
        self.add(
            "noisy-small-flip",
            _with(_SMALL, 12, 3e-3, data={"augment": "flip"}),
            "noisy labels",
            may="overfitting",
            noise=0.2,
        )
        for seed in (1, 2):
            self.add(
                f"uneven-head-{seed}",
                _with(_HEAD, 12, 1e-3, train={"seed": seed}),
                "class imbalance",
                rare=0.06,
                keep=1200,
            )
        self.add("uneven-small", _with(_SMALL, 12, 1e-3), "class imbalance", may="overfitting", rare=0.06, keep=1200)
        self.add("uneven-all", _with(_ALL, 5, 3e-4), "class imbalance", rare=0.05, keep=1200)

    def small_batches(self) -> None:
        larger: dict[str, Any] = {"image_size": 64}  # a batch norm can't do with one image of 1 × 1
        for size, keep in ((2, 300), (4, 500)):
            small = _with(_SMALL, 8, 1e-3, train={"batch_size": size}, data=larger)
            self.add(f"batch-{size}-small", small, "batch too small", may="underfitting", keep=keep)
        every = _with(_ALL, 5, 1e-3, train={"batch_size": 2}, data=larger)
        self.add("batch-2-all", every, "batch too small", may="underfitting", keep=200)


_FEW = (
    "well-head well-head-batch-4 well-small well-all overfits-head-1 overfits-all-1 too-high-small-3.0 too-high-all "
    "too-low-small-1e-05 too-low-head noisy-head uneven-head-1 uneven-all batch-2-small"
).split()


def made_runs() -> Iterator[Made]:
    """Every run of the benchmark; of solar cells, whose two classes leave less to be told, some."""
    for data in _MAKERS:
        recipes = _Recipes(data)
        recipes.healthy()
        recipes.overfitting()
        recipes.underfitting()
        recipes.rates()
        recipes.plateau()
        recipes.data_troubles()
        recipes.small_batches()
        wanted = {f"{data}-{name}" for name in _FEW}
        yield from (made for made in recipes.found if data != "solar" or made.name in wanted)
