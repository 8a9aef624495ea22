"""The scan of a dataset: what is in its files and what to do about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image, ImageFile

from engine.config.schema import DataConfig
from engine.data.scan import scan
from engine.data.scan_results import DatasetScan
from engine.runs.progress import quiet
from tests.conftest import make_images
from tltui.cli.main import cli


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Class folders with a copy, a contradiction, a damaged file, a text and a class that is rare."""
    root = make_images(tmp_path / "photos", 20)
    for number in range(4, 20):
        (root / "red" / f"{number:02}.png").unlink()
    shutil.copy(root / "blue" / "00.png", root / "blue" / "copy.png")
    shutil.copy(root / "blue" / "01.png", root / "green" / "other.png")
    (root / "green" / "broken.png").write_bytes(b"x")
    whole = (root / "green" / "02.png").read_bytes()
    (root / "green" / "02.png").write_bytes(whole[: len(whole) // 2])
    (root / "green" / "notes.txt").write_text("x")
    return root


def scanned(path: Path, **settings: object) -> DatasetScan:
    return scan(DataConfig.model_validate({"path": str(path), **settings}), quiet)


def test_a_scan_finds_what_is_odd_and_says_what_to_do(dataset: Path):
    found = scanned(dataset)
    messages = {one.code: one.message for one in found.findings}
    assert (found.summary.images, found.summary.formats, found.summary.modes) == (45, {"PNG": 45}, {"RGB": 45})
    assert list(found.classes.items()) == [("blue", 21), ("green", 20), ("red", 4)]
    assert found.passed_over == {".txt": 1}
    assert {one.path for one in found.unreadable} == {"green/broken.png", "green/02.png"}
    assert "blue/copy.png is blue/00.png" in messages["copies"]
    assert "blue/01.png (blue) is green/other.png (green)" in messages["contradictions"]
    assert "train.class_weights" in messages["classes_imbalanced"]
    assert "truncated" in messages["unreadable"]
    assert (found.summary.copies, found.summary.contradictions, found.problem) == (2, 1, "")


@pytest.mark.parametrize(
    ("task", "cells", "rows"),
    [
        ("regression", ["1.5", "2.5", "5"], ["1 number", "number min mean max", "label 1.5 3 5"]),
        ("ordinal", ["9", "10", "10"], ["2 ranks", "rank images", "9 1", "10 2"]),
        ("multilabel", ["b;a", "b", ""], ["2 labels", "label images", "b 2", "a 1"]),
    ],
)
def test_a_scan_shows_what_is_predicted_of_any_task(
    task: str, cells: list[str], rows: list[str], dataset: Path, tmp_path: Path
):
    table = tmp_path / "table.csv"
    lines = [f"photos/blue/{at:02}.png,{cell}" for at, cell in enumerate(cells)]
    table.write_text("\n".join(["path,label", *lines]))
    page = CliRunner().invoke(cli, ["data", str(table), "--set", f"data.task={task}"])
    places = [" ".join(page.output.replace("▇", "").split()).find(row) for row in rows]
    assert -1 not in places, page.output
    assert places == sorted(places)
    found = scanned(table, task=task)
    assert (list(found.classes), list(found.numbers)) == {
        "regression": ([], ["label"]), "ordinal": (["9", "10"], []), "multilabel": (["b", "a"], []),
    }[task]  # fmt: skip


def test_a_second_scan_opens_no_image(dataset: Path, monkeypatch: pytest.MonkeyPatch):
    import os
    import time

    for path in dataset.glob("*/*"):
        os.utime(path, ns=(10**18, 10**18))
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)  # files of a moment ago are not trusted
    first = scanned(dataset)
    opened: list[object] = []
    whole = Image.open

    def watch(file: object, **options: object) -> Image.Image:
        opened.append(file)
        return whole(file, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Image, "open", watch)
    second = scanned(dataset)
    assert len(opened) <= len(first.unreadable)
    assert second.summary == first.summary


def test_images_of_eight_bits_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("nothing can be decoded")

    root = make_images(tmp_path / "photos", 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert scanned(root).summary.images == 9


def test_groups_that_look_like_groups_and_groups_in_two_splits_are_named(tmp_path: Path):
    make_images(tmp_path, 8)
    rows = [f"{name}/{number:02}.png" for name in ("red", "blue") for number in range(8)]
    table = tmp_path / "labels.csv"
    lines = [f"{row},{row[0]},{at // 3},{'train' if at % 2 else 'val'}" for at, row in enumerate(rows)]
    table.write_text("path,label,patient_id,split\n" + "\n".join(lines))
    suggested = {one.code for one in scanned(table).findings}
    assert "group_suggested" in suggested
    found = scanned(table, group_column="patient_id")
    assert found.groups == 6
    assert "groups_in_several_splits" in {one.code for one in found.findings}


def test_the_command_prints_a_page_or_one_document(dataset: Path):
    page = CliRunner().invoke(cli, ["data", str(dataset)])
    assert page.exit_code == 0
    assert "45 in 3 classes" in page.output
    assert "exact copies" in page.output
    document = CliRunner().invoke(cli, ["data", str(dataset), "--json"])
    assert '"contradictions":1' in document.stdout


def test_a_thousand_classes_print_a_page_and_a_bad_dataset_is_refused(tmp_path: Path):
    small = Image.new("L", (8, 8))
    for number in range(300):
        (tmp_path / "many" / f"class-{number:04}").mkdir(parents=True)
        small.save(tmp_path / "many" / f"class-{number:04}" / "a.png")
    page = CliRunner().invoke(cli, ["data", str(tmp_path / "many")])
    assert len(page.output.splitlines()) < 60
    assert "280 more" in page.output
    for path in list((tmp_path / "many").glob("*/*"))[:100]:
        path.write_bytes(b"x")
    broken = CliRunner().invoke(cli, ["data", str(tmp_path / "many")])
    assert broken.exit_code != 0
    assert "can't be read" in str(broken.exception)
