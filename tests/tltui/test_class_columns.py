"""Classes whose names are those of columns, or nearly those of other classes, stay apart in predictions.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from engine.config.schema import DataConfig
from engine.data.sources import open_source
from engine.evaluation.predictions import PredictionsFile
from engine.files.csv_cells import class_columns
from tests.conftest import make_images
from tltui.compare.paired_tests import read_predictions
from tltui.runs.predictions import PredictedImage, confused_images, images_of_class, misclassified_images

CLASSES: dict[str, list[str]] = {
    "columns": ["true", "predicted", "path"],
    "columns, and what they become": ["true", "p(true)", "p(true)#2", "predicted"],
    "blanks": ["cat", "cat ", " cat", "c at", "c  at", " ", "  "],
    "a column with blanks": ["true ", "true", " path"],
    "formulas": ["=a", "'=a", "''=a", "-1", "@x"],
    "normal": ["cat", "dog", "1", "p(cat)"],
}


def test_images_of_several_labels_are_found_by_each_of_them(tmp_path: Path):
    table = tmp_path / "predictions.csv"
    names = ["=1+1", "b", "c;d"]
    with PredictionsFile(table, names) as file:
        values = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.7, 0.1], [0.6, 0.2, 0.1]])
        file.write(["0.png", "1.png", "2.png"], ["b", "=1+1;b", "=1+1"], ["b", "=1+1", ""], values)
    found = misclassified_images(table, names, "multilabel")
    assert [one[:3] for one in found] == [("1.png", "=1+1;b", "=1+1"), ("2.png", "=1+1", "")]
    assert [one.label for one in found] == ["=1+1", "=1+1"]
    splits = tmp_path / "splits.csv"
    splits.write_text("path,label,split\n0.png,b,val\n1.png,'=1+1;b,train\n2.png,'=1+1,test\n")
    assert [one.path for one in images_of_class(splits, "b", "multilabel")] == ["0.png", "1.png"]
    assert [one.path for one in images_of_class(splits, "=1+1", "multilabel")] == ["1.png", "2.png"]


def write(path: Path, classes: list[str]) -> list[PredictedImage]:
    """A table in which each class is taken for each other one; returns these mistakes, the surest first."""
    count = len(classes)
    wrong = [(true, predicted) for true in range(count) for predicted in range(count) if true != predicted]
    labels = torch.tensor([true for true, _ in wrong] + list(range(count)))
    probabilities = torch.full((len(labels), count), 0.01)
    for row, predicted in enumerate([predicted for _, predicted in wrong] + list(range(count))):
        probabilities[row, predicted] = 0.9 - 0.001 * row
    paths = [f"{row}.png" for row in range(len(labels))]
    with PredictionsFile(path, classes) as file:
        true, predicted = ([classes[at] for at in some.tolist()] for some in (labels, probabilities.argmax(1)))
        file.write(paths, true, predicted, probabilities)
    assert not file.problem
    return [
        PredictedImage(f"{row}.png", classes[true], classes[predicted], round(0.9 - 0.001 * row, 6))
        for row, (true, predicted) in enumerate(wrong)
    ]


@pytest.mark.parametrize("case", CLASSES)
def test_mistakes_of_any_classes_are_found_with_their_probabilities(case: str, tmp_path: Path):
    classes, path = CLASSES[case], tmp_path / "predictions.csv"
    expected = write(path, classes)
    assert misclassified_images(path, classes) == expected
    for one in expected:
        assert confused_images(path, one.true, one.predicted) == [one]
    right = [not answer.error for answer in read_predictions(path)]
    assert right == [False] * len(expected) + [True] * len(classes)


@pytest.mark.parametrize("case", CLASSES)
def test_each_column_has_a_name_of_its_own(case: str, tmp_path: Path):
    write(tmp_path / "predictions.csv", CLASSES[case])
    with (tmp_path / "predictions.csv").open(newline="") as file:
        heading, *rows = csv.reader(file)
    assert heading[:3] == ["path", "true", "predicted"]
    assert len({" ".join(name.split()) for name in heading}) == len(heading) == 3 + len(CLASSES[case])
    for row in rows:
        shares = list(map(float, row[3:]))
        assert shares.index(max(shares)) == rows[-len(shares) :].index(next(r for r in rows if r[1:3] == [row[2]] * 2))


def test_names_that_collide_with_nothing_are_columns_as_they_are():
    assert class_columns(["cat", "dog", "1", "p(cat)", "True", "paths"]) == [
        "cat",
        "dog",
        "1",
        "p(cat)",
        "True",
        "paths",
    ]
    assert class_columns(["predicted", "true", "cat"]) == ["p(predicted)", "p(true)", "cat"]
    assert class_columns(["cat ", "cat"]) == ["p(cat )", "cat"]


@pytest.mark.parametrize("names", [["true", "predicted", "path"], ["'=a", "b", "c"]])
def test_tables_of_version_0_1_0_are_read(names: list[str], tmp_path: Path):
    path = tmp_path / "predictions.csv"
    path.write_text(
        f"path,true,predicted,{','.join(names)}\n"
        f"a.png,{names[0]},{names[1]},0.2,0.7,0.1\n"
        f"b.png,{names[1]},{names[1]},0.2,0.7,0.1\n"
        f"c.png,{names[2]},{names[0]},0.6,0.3,0.1\n"
    )
    expected = [PredictedImage("a.png", names[0], names[1], 0.7), PredictedImage("c.png", names[2], names[0], 0.6)]
    assert misclassified_images(path, names) == expected
    assert confused_images(path, names[2], names[0]) == expected[1:]
    (tmp_path / "splits.csv").write_text(f"path,label,split\na.png,{names[0]},test\n")
    assert [one.path for one in images_of_class(tmp_path / "splits.csv", names[0])] == ["a.png"]


def test_classes_that_are_written_alike_are_numbered(tmp_path: Path):
    root = make_images(tmp_path / "photos", 1, names=("red", "blue"))
    (root / "red").rename(root / "x\x1b")
    (root / "blue").rename(root / "x\\x1b")
    source = open_source(DataConfig(path=str(root)))
    assert source.classes == ["x\\x1b", "x\\x1b (2)"]
