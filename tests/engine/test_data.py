"""Where images and labels come from, what is refused, and how splits are dealt."""

from __future__ import annotations

import csv
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import DataConfig, RunConfig
from engine.data.source import Sample
from engine.data.sources import open_learnable, open_source
from engine.data.splits import assign_splits, restore_splits
from engine.errors import InputError
from engine.files.csv_cells import text_cell
from tests.conftest import COLOURS, make_images
from tests.engine.prepared_data import prepared


def test_class_folders_are_found_whatever_lies_beside_the_images(tmp_path: Path):
    root = make_images(tmp_path / "images", 3)
    (root / "red" / "deep").mkdir()
    (root / "red" / "00.png").rename(root / "red" / "deep" / "00.PNG")
    (root / "red" / "notes.txt").write_text("no image")
    (root / "red" / ".hidden.png").write_text("no image")
    (root / ".cache").mkdir()
    (root / "red" / "loop").symlink_to(root)
    source = open_source(DataConfig(path=str(root)))
    assert source.classes == sorted(COLOURS)
    assert len(source.samples) == 9
    assert {image.key for image in source.samples if image.label == 2} == {
        "red/01.png", "red/02.png", "red/deep/00.PNG",
    }  # fmt: skip


def test_a_folders_own_splits_are_kept(tmp_path: Path, config: Callable[..., RunConfig]):
    for name, count in (("train", 6), ("valid", 2), ("test", 3)):
        make_images(tmp_path / "data" / name, count)
    data, ready, _ = prepared(config(data={"path": str(tmp_path / "data")}), tmp_path)
    assert ready.counts == {"train": 18, "val": 6, "test": 9}
    assert all(data.samples[i].key.startswith("valid/") for i in data.splits["val"])


def test_only_a_missing_validation_split_is_taken_from_training(tmp_path: Path, config: Callable[..., RunConfig]):
    make_images(tmp_path / "data" / "train", 8)
    _, ready, _ = prepared(config(data={"path": str(tmp_path / "data")}), tmp_path)
    assert ready.counts == {"train": 18, "val": 6}


def test_a_table_gives_paths_labels_and_splits(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path, 4)
    rows = [(f"{name}/{i:02}.png", name, "val" if i == 3 else "train") for name in COLOURS for i in range(4)]
    table = root / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    _, ready, splits = prepared(config(data={"source": "csv", "path": str(table)}), tmp_path)
    assert ready.counts == {"train": 9, "val": 3}
    with splits.open(newline="") as file:
        assert {tuple(row.values()) for row in csv.DictReader(file)} == set(rows)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("where,what\na.png,x\n", "needs the columns path and label, has where, what"),
        ("path,label,split\na.png,x,future\n", 'line 2: split is "future"'),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "in some rows only"),
        ("path,label\n,x\n", "line 2: path is empty"),
        ("path,label\n", "no images found"),
        ("path,label\na.png,x\n", 'only the class "x"'),
    ],
)
def test_a_table_that_can_not_be_used_is_refused_with_the_place(content: str, says: str, tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text(content)
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(InputError, match=says):
        open_learnable(DataConfig(source="csv", path=str(table)))


@pytest.mark.parametrize(("make", "says"), [("missing", "no such folder"), ("empty", "no class folders")])
def test_a_folder_that_can_not_be_used_is_refused(make: str, says: str, tmp_path: Path):
    path = tmp_path / "data"
    if make == "empty":
        path.mkdir()
    with pytest.raises(InputError, match=says):
        open_source(DataConfig(path=str(path)))


def test_digits_need_nothing(tmp_path: Path):
    source = open_source(DataConfig(source="digits"))
    assert (len(source.samples), source.classes) == (1797, [str(digit) for digit in range(10)])
    assert source.open(0).size == (8, 8)


def write_mnist(root: Path) -> None:
    """A tiny MNIST in the original's file format."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        labels = bytes(i % 10 for i in range(count))
        pixels = bytes((i % 10) * 25 for i in range(count) for _ in range(28 * 28))
        images = struct.pack(">iiii", 2051, count, 28, 28) + pixels
        for name, content in (("images-idx3", images), ("labels-idx1", struct.pack(">ii", 2049, count) + labels)):
            (folder / f"{part}-{name}-ubyte").write_bytes(content)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))


def test_a_torchvision_dataset_on_this_machine_is_used_as_it_is(tmp_path: Path, config: Callable[..., RunConfig]):
    write_mnist(tmp_path / "root")
    data, ready, _ = prepared(
        config(data={"source": "torchvision", "name": "MNIST", "path": str(tmp_path / "root"), "val_fraction": 0.25}),
        tmp_path,
    )
    assert ready.counts == {"train": 30, "val": 10, "test": 20}
    assert len(ready.classes) == 10
    nine = next(i for i in data.splits["test"] if data.labels[i] == 9)
    assert int(data.image_cache[nine][5, 5, 0]) == 225


def test_a_torchvision_dataset_that_is_not_here_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = DataConfig(source="torchvision", name="CIFAR10", path=str(tmp_path / "root"))
    monkeypatch.setenv("TLTUI_OFFLINE", "1")
    with pytest.raises(InputError, match=r"CIFAR10 is not in .*root"):
        open_source(config)
    monkeypatch.delenv("TLTUI_OFFLINE")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="can't be downloaded"):
        open_source(config)
    with pytest.raises(InputError, match="nearest: CIFAR10"):
        open_source(DataConfig(source="torchvision", name="CIFAR"))


def test_unreadable_files_are_skipped_and_named(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 10)
    whole = (root / "red" / "00.png").read_bytes()
    (root / "red" / "00.png").write_bytes(whole[: len(whole) // 2])
    (root / "blue" / "01.png").write_bytes(b"")
    _, ready, splits = prepared(config(data={"path": str(root)}), tmp_path)
    assert {file.path for file in ready.skipped} == {"red/00.png", "blue/01.png"}
    assert all(file.reason for file in ready.skipped)
    assert sum(ready.counts.values()) == 28
    assert "red/00.png" not in splits.read_text()


def test_too_many_unreadable_files_are_an_error(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 4)
    for number in range(3):
        (root / "red" / f"{number:02}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"3 of 12 images can't be read.*red/00\.png"):
        prepared(config(data={"path": str(root)}), tmp_path)


def test_a_class_that_training_lacks_is_an_error(tmp_path: Path, config: Callable[..., RunConfig]):
    for name, classes in (("train", ("red", "blue")), ("test", ("red", "blue", "green"))):
        make_images(tmp_path / "data" / name, 4, names=classes)
    with pytest.raises(InputError, match='no training image is left for "green"'):
        prepared(config(data={"path": str(tmp_path / "data")}), tmp_path)


def test_splits_are_stratified_disjoint_and_seeded():
    source = open_source(DataConfig(source="digits"))
    config = DataConfig(source="digits", val_fraction=0.2, test_fraction=0.1)
    first, again, other = (assign_splits(source.samples, config, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    members = [set(first[name]) for name in ("train", "val", "test")]
    assert sum(map(len, members)) == len(set.union(*members)) == 1797
    for name, share in (("val", 0.2), ("test", 0.1)):
        for label in range(10):
            of_class = [i for i, image in enumerate(source.samples) if image.label == label]
            taken = len(set(of_class) & set(first[name]))
            assert abs(taken - share * len(of_class)) <= 1


def test_the_smallest_class_keeps_a_training_image(tmp_path: Path):
    root = make_images(tmp_path, 20)
    for path in sorted((root / "red").iterdir())[1:]:
        path.unlink()
    source = open_source(DataConfig(path=str(root)))
    dealt = assign_splits(source.samples, DataConfig(path="x", val_fraction=0.4, test_fraction=0.4), 0)
    assert [source.samples[i].label for i in dealt["train"]].count(2) == 1


def test_tables_hold_nothing_that_a_spreadsheet_would_run(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 10)
    (root / "red").rename(root / "=cmd|' calc'!A0")
    *_, splits = prepared(config(data={"path": str(root)}), tmp_path)
    rows = list(csv.reader(splits.read_text().splitlines()))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    named = [row for row in rows if "calc" in row[1]]
    assert named
    assert all((root / row[0]).is_file() for row in named)  # the path still leads there
    assert text_cell("-1.5") == "-1.5"


def test_images_stay_in_the_split_that_splits_csv_has_them_in(tmp_path: Path):
    began = [Sample(f"{number}.png", 0, "") for number in range(3)]
    warnings: list[str] = []

    def warn(code: str, _message: str) -> None:
        warnings.append(code)

    def keep(splits: dict[str, list[int]], images: list[Sample]) -> dict[str, list[int]]:
        return restore_splits(tmp_path / "splits.csv", splits, images, ["cat"], warn)

    assert keep({"train": [0, 1], "val": [2]}, began) == {"train": [0, 1], "val": [2]}
    came = [Sample("new.png", 0, ""), *began[1:]]
    assert keep({"train": [0, 2], "val": [1]}, came) == {"train": [1], "val": [2]}
    assert warnings == ["data_changed"]
