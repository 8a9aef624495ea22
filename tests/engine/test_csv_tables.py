"""Tables are read as spreadsheets write them, or refused with one sentence."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import DataConfig, RunConfig
from engine.data.source import Sample
from engine.data.sources import open_source
from engine.data.splits import restore_splits
from engine.errors import InputError
from engine.files.csv_cells import text_cell
from engine.runs.folder import RunFolder
from tests.conftest import Engine
from tltui.compare.paired_tests import Prediction, read_predictions
from tltui.runs.predictions import images_of_class, misclassified_images

UTF_16 = codecs.BOM_UTF16_LE
# How programs write a table, from its lines with commas.
WRITTEN: dict[str, Callable[[str], bytes]] = {
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "byte-order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "semicolons and byte-order mark": lambda text: codecs.BOM_UTF8 + text.replace(",", ";").encode(),
    "UTF-16 with tabs": lambda text: UTF_16 + text.replace(",", "\t").encode("utf-16-le"),
    "Windows lines": lambda text: text.replace("\n", "\r\n").encode(),
    "blanks in the heading, empty lines": lambda text: ("\n" + text.replace(",", " , ", 1) + "\n,,\n\n").encode(),
    "another column in front": lambda text: "".join(f"x,{line}\n" for line in text.splitlines()).encode(),
    "quotes": lambda text: "".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in text.splitlines()
    ).encode(),
}
MALFORMED: dict[str, tuple[bytes, str]] = {
    "other columns": (b"a;b\n1;2\n", "needs the columns .*, has a, b; "),
    "no heading": (b"\n\n", "needs the columns .*, has none"),
    "a cell too many": (b"path,label,split\nred, blue.png,red,train\n", "line 2 has 4 cells, .* into double quotes"),
    "a quote without its end": (b'path,label,split\n"a.png,red,train\n', "line 2 is not valid CSV"),
    "no UTF-8": (b"path,label,split\n\xff.png,red,train\n", "save it as CSV in UTF-8"),
    "half of a UTF-16 letter": (UTF_16 + "path,label,split\n".encode("utf-16-le") + b"a", "save it as CSV in UTF-8"),
    "an unknown split": (b"path,label,split\na.png,red,train\nb.png,red,later\n", 'line 3: split is "later"'),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_table_of_images_is_read_however_it_is_written(way: str, tmp_path: Path):
    text = "path,label,split\na.png,red,train\nb.png,blue,train\nc.png,red,val\n"
    (tmp_path / "table.csv").write_bytes(WRITTEN[way](text))
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    source = open_source(DataConfig(source="csv", path=str(tmp_path / "table.csv")))
    assert source.classes == ["blue", "red"]
    assert source.samples == [Sample("a.png", 1, "train"), Sample("b.png", 0, "train"), Sample("c.png", 1, "val")]


def keep(path: Path) -> dict[str, list[int]]:
    """What comes of the splits of three images where the run has this splits.csv already."""
    images = [Sample(f"{number}.png", 0, "") for number in range(3)]
    return restore_splits(path, {"train": [0, 1], "val": [2]}, images, ["cat"], lambda _code, _message: None)


@pytest.mark.parametrize("way", WRITTEN)
def test_splits_are_kept_however_a_spreadsheet_saved_them(way: str, tmp_path: Path):
    path = tmp_path / "splits.csv"
    path.write_bytes(WRITTEN[way]("path,label,split\n0.png,cat,val\n1.png,cat,train\n2.png,cat,train\n"))
    assert keep(path) == {"val": [0], "train": [1, 2]}
    assert [one.path for one in images_of_class(path, "cat")] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_tables_are_refused_and_stay_as_they_are(what: str, tmp_path: Path):
    content, says = MALFORMED[what]
    path = tmp_path / "splits.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as refused:
        keep(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == content
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(InputError, match=says):
        open_source(DataConfig(source="csv", path=str(path)))
    assert misclassified_images(path, ["red", "blue"]) == []


def test_a_run_with_malformed_splits_ends_with_status_2(engine: Engine, config: Callable[..., RunConfig]):
    folder, process = engine.start(config())
    folder.splits.write_bytes(b"path;label\n0.png;red\n")
    assert process.wait(timeout=120) == 2
    assert "needs the columns path and split, has path, label" in RunFolder(folder.path).events.read_text()


@pytest.mark.parametrize("way", WRITTEN)
def test_predictions_are_read_however_a_spreadsheet_saved_them(way: str, tmp_path: Path):
    path = tmp_path / "predictions.csv"
    path.write_bytes(WRITTEN[way]("path,true,predicted,cat,dog\na.png,cat,dog,0.25,0.75\nb.png,dog,dog,0.1,0.9\n"))
    assert list(read_predictions(path)) == [Prediction("a.png", "cat", 1.0), Prediction("b.png", "dog", 0.0)]
    assert [
        (one.path, one.true, one.predicted, one.probability) for one in misclassified_images(path, ["cat", "dog"])
    ] == [("a.png", "cat", "dog", 0.75)]


def test_different_names_stay_different_cells():
    names = ["=a", "'=a", "''=a", "a", "'a", "-1", "-1x", "'-1", "@", "'@"]
    assert len({text_cell(name) for name in names}) == len(names)
