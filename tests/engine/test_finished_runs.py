"""What is done with a finished run, done with runs of several labels and of numbers per image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.data.splits import read_splits
from engine.errors import InputError
from engine.evaluation.gradcam import grad_cam
from engine.evaluation.load_run import load_trained_run
from engine.evaluation.re_evaluate import re_evaluate
from engine.experiments.lr_range_test.range_test import lr_range_test
from engine.export.export import export
from engine.export.formats import FORMATS, open_export
from engine.export.predict import Prediction, find_images, predict
from engine.export.predictor import open_run
from engine.process.run import evaluate_best
from engine.runs.event_log import EventTail
from engine.runs.events import Evaluated
from engine.runs.folder import RunFolder
from engine.runs.progress import quiet
from engine.runs.state import fold_all
from engine.training.loop import fit
from engine.training.session import Session
from tests.conftest import Sessions, open_sessions, restored_signals
from tests.engine.made_tables import COLOURS, make_tables, table_config


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def run(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    settings = table_config(
        tables, "multilabel", data={"label_column": ["label"]}, train={"loss": "focal", "epochs": 1}
    )
    with restored_signals(), open_sessions(tmp_path_factory.mktemp("runs")) as session:
        yield finished(session(settings))


@pytest.fixture(scope="module")
def run_of_numbers(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    with restored_signals(), open_sessions(tmp_path_factory.mktemp("runs")) as session:
        yield finished(session(table_config(tables, "regression", train={"epochs": 1})))


def finished(made: Session) -> RunFolder:
    fit(made)
    evaluate_best(made)
    made.context.log.sync()
    return made.context.folder


def labels_of(tables: Path) -> dict[str, str]:
    with (tables / "multilabel.csv").open() as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def evaluated_on(run: RunFolder, table: Path) -> Evaluated:
    return re_evaluate(load_trained_run(run), "", table, "cpu", quiet, lambda *_: None)


@pytest.mark.parametrize("form", ["cells", "columns"])
def test_it_is_evaluated_on_another_table_of_the_same_images_as_on_its_own(
    form: str, run: RunFolder, tables: Path, tmp_path: Path
):
    """The other table lacks a label of the run, has the others in another order, and names no split."""
    split_of = read_splits(run.splits.read_bytes())
    members = {path: labels for path, labels in labels_of(tables).items() if split_of[path] == "test"}
    names = [name for name in reversed(COLOURS) if any(name in labels.split(";") for labels in members.values())]
    cell = {path: labels.split(";") for path, labels in members.items()}
    lines = ["path,label", *(f"{tables / path},{';'.join(cell[path])}" for path in members)]
    if form == "columns":
        rows = (",".join(str(int(name in cell[path])) for name in names) for path in members)
        lines = [
            f"path,{','.join(names)}",
            *(f"{tables / path},{row}" for path, row in zip(members, rows, strict=True)),
        ]
    table = tmp_path / "others.csv"
    table.write_text("\n".join(lines))
    own, other = fold_all(EventTail(run).poll()).evaluations["test"], evaluated_on(run, table)
    assert (other.split, other.count) == ("all", own.count)
    assert other.classes == own.classes
    assert other.per_class == own.per_class
    assert other.cooccurrence == own.cooccurrence
    assert other.log_loss == pytest.approx(own.log_loss)


def test_numbers_are_evaluated_on_another_table_as_on_their_own(
    run_of_numbers: RunFolder, tables: Path, tmp_path: Path
):
    split_of = read_splits(run_of_numbers.splits.read_bytes())
    with (tables / "regression.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if split_of[row["path"]] == "test"]
    table = tmp_path / "others.csv"
    lines = [f"{tables / row['path']},{row['level']},{row['brightness']}" for row in rows]
    table.write_text("\n".join(["path,level,brightness", *lines]))
    own, other = fold_all(EventTail(run_of_numbers).poll()).evaluations["test"], evaluated_on(run_of_numbers, table)
    assert other.metrics == pytest.approx(own.metrics)
    table.write_text("\n".join(["path,level", *(line.rpartition(",")[0] for line in lines)]))
    with pytest.raises(InputError, match='has no column "brightness"'):
        evaluated_on(run_of_numbers, table)


def test_a_table_with_a_label_that_it_does_not_know_is_refused(run: RunFolder, tables: Path, tmp_path: Path):
    table = tmp_path / "others.csv"
    table.write_text(f"path,label\n{tables}/00.png,red\n{tables}/01.png,red;pink\n")
    with pytest.raises(InputError, match='"pink" is not a label of the run'):
        evaluated_on(run, table)


@pytest.mark.parametrize("form", [pytest.param(name, marks=[pytest.mark.slow] * (name == "onnx")) for name in FORMATS])
def test_its_exports_answer_as_it_does(form: str, run: RunFolder, tables: Path, tmp_path: Path):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    exported = export(run, form, tmp_path / "out", quiet)
    assert exported.comparison.probability < 1e-5
    if FORMATS[form].writer.open:
        images = find_images([tables / "00.png", tables / "01.png"])
        networks = open_run(run), open_export(Path(exported.file))
        for one, other in zip(*(predict(network, images, quiet) for network in networks), strict=True):
            assert isinstance(one, Prediction)
            assert isinstance(other, Prediction)
            assert one.label == other.label
            assert one.values == pytest.approx(other.values, abs=1e-4)


def test_a_heat_map_is_of_one_label(run: RunFolder):
    trained = load_trained_run(run)
    image = torch.rand(1, 3, 32, 32)
    maps = [grad_cam(trained.classifier.module, "", image.clone(), at, trained.task) for at in range(len(COLOURS))]
    assert all(heat.shape == (32, 32) for heat in maps)
    assert not torch.equal(maps[0], maps[1])


def test_learning_rates_are_found_for_it(session: Sessions, tables: Path):
    found = lr_range_test(
        session(table_config(tables, "multilabel", freeze={"rules": ["freeze *", "train head"]})), lambda _: None
    )
    assert found.head
    assert found.backbone is None
