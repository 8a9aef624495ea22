"""Shards, Parquet files and saved datasets, read in place: the images, labels and splits of the same class folders."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from engine.config.data_sources import source_of
from engine.config.schema import DataConfig, RunConfig
from engine.data.decode import open_sample, read_file
from engine.data.image import why_unreadable
from engine.data.scan import scan
from engine.data.source import Source
from engine.data.sources import list_images, open_source
from engine.data.splits import assign_splits
from engine.errors import InputError
from engine.evaluation.load_run import load_trained_run
from engine.evaluation.re_evaluate import re_evaluate
from engine.export.predict import Prediction, find_images, predict
from engine.export.predictor import open_run
from engine.runs.progress import quiet
from engine.training.loop import fit
from engine.training.session import Session
from tests.conftest import Sessions, make_images
from tests.engine.cache_spaces import ends_well, start
from tests.engine.made_datasets import image_table, save_splits, save_to_disk, write_parquet, write_shards

SHARDS = ("shard-000.tar", "shard-001.tar")
Write = Callable[[Path, Path], Path]


def opened(path: Path, **settings: object) -> Source:
    return open_source(DataConfig.model_validate({"path": str(path), **settings}))


def contents(source: Source) -> list[tuple[str, bytes]]:
    """The class and the content key of every image, in order."""
    return [
        (one.describe(source.classes), open_sample(source, at, read_file)[0]) for at, one in enumerate(source.samples)
    ]


def splits_of(source: Source) -> Counter[str]:
    return Counter(sample.split for sample in source.samples)


def numbered_shards(folder: Path, out: Path) -> Path:
    write_shards(folder, out, SHARDS, lambda label, number: {".cls": str(number).encode()})
    (out / "classes.txt").write_text("blue\ngreen\nred\n")
    return out


def pattern_of_shards(folder: Path, out: Path) -> Path:
    return write_shards(folder, out, SHARDS, lambda label, number: {".txt": label.encode()}) / "shard-{000..001}.tar"


def one_tar(folder: Path, out: Path) -> Path:
    def described(label: str, number: int) -> dict[str, bytes]:
        return {".json": json.dumps({"caption": "a colour", "label": label, "box": [1, 2]}).encode()}

    return write_shards(folder, out, ["all.tar"], described) / "all.tar"


def tar_of_quoted_names(folder: Path, out: Path) -> Path:
    return write_shards(folder, out, ["all.tar"], lambda label, _: {".json": json.dumps(label).encode()}) / "all.tar"


def one_parquet(folder: Path, out: Path) -> Path:
    return write_parquet(image_table(folder), out / "images.parquet")


def parquet_of_bytes(folder: Path, out: Path) -> Path:
    table = image_table(folder)
    columns = {
        "category": pa.array([["blue", "green", "red"][at] for at in table["label"].to_pylist()]).dictionary_encode(),
        "picture": table["image"].combine_chunks().field("bytes"),
    }
    return write_parquet(pa.table(columns), out / "images.parquet", 1000)


def parquet_of_paths(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out / "raw")
    paths = sorted((out / "raw").rglob("*.png"))
    names = [str(path.relative_to(out)) for path in paths]
    return write_parquet(
        pa.table({"file_name": names, "label": [path.parent.name for path in paths]}), out / "t.parquet"
    )


def saved(folder: Path, out: Path) -> Path:
    return save_to_disk(image_table(folder), out)


KINDS: dict[Write, str] = {
    numbered_shards: "webdataset",
    pattern_of_shards: "webdataset",
    one_tar: "archive",
    tar_of_quoted_names: "archive",
    one_parquet: "parquet",
    parquet_of_bytes: "parquet",
    parquet_of_paths: "parquet",
    saved: "huggingface",
}
every_kind = pytest.mark.parametrize("write", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("folder"), per_class=12)


@every_kind
def test_images_labels_and_splits_are_those_of_the_folder(write: Write, folder: Path, tmp_path: Path):
    path = write(folder, tmp_path / "set")
    config = DataConfig(path=str(path))
    source, beside = open_source(config), opened(folder)
    assert config.resolved_source == KINDS[write]
    assert source.classes == beside.classes
    assert contents(source) == contents(beside)
    assert len({sample.key for sample in source.samples}) == len(source.samples)
    assert assign_splits(source.samples, config, 1) == assign_splits(beside.samples, config, 1)
    assert [image.file.read(10**6) for image in list_images(path)] == [
        source.file(at).read(10**6) for at in range(len(source.samples)) if source.file
    ]


@every_kind
def test_threads_and_forks_read_the_same_bytes_in_any_order(write: Write, folder: Path, tmp_path: Path):
    source = opened(write(folder, tmp_path / "set"))
    wanted = contents(source)
    order = list(range(len(wanted))) * 3
    Random(0).shuffle(order)

    def read(at: int) -> bytes:
        return open_sample(source, at, read_file)[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, order)) == [wanted[at][1] for at in order]

    def read_all() -> None:
        assert contents(source) == wanted

    for process in [start(read_all), start(read_all)]:
        ends_well(process)


def test_files_named_as_splits_are_splits_at_any_depth(folder: Path, tmp_path: Path):
    table = image_table(folder)
    for name, rows in (
        ("train-00000-of-00002", (0, 10)),
        ("train-00001-of-00002-a09b74b3ef9c3b56", (10, 20)),
        ("validation-00000-of-00001", (20, 28)),
        ("test-00000-of-00001", (28, 36)),
    ):
        write_parquet(table.slice(rows[0], rows[1] - rows[0]), tmp_path / "hub" / "data" / f"{name}.parquet")
    write_parquet(table, tmp_path / "hub" / "data" / "all.parquet")
    source = opened(tmp_path / "hub")
    assert splits_of(source) == {"train": 20, "val": 8, "test": 8}
    assert [finding.code for finding in source.findings] == ["unused_folders"]
    assert splits_of(opened(tmp_path / "hub" / "data" / "train-{00000..00000}-of-00002.parquet")) == {"": 10}

    names = ("imagenet-train-0000.tar", "imagenet-train-0001.tar", "imagenet-validation-0000.tar")
    write_shards(folder, tmp_path / "shards", names, lambda label, number: {".cls": label.encode()})
    assert splits_of(opened(tmp_path / "shards")) == {"train": 24, "val": 12}
    assert splits_of(opened(tmp_path / "shards" / "imagenet-train-*.tar")) == {"": 24}

    both = save_splits({"train": table.slice(0, 24), "test": table.slice(24)}, tmp_path / "dict")
    assert splits_of(opened(both)) == {"train": 24, "test": 12}
    assert splits_of(opened(both / "train")) == {"": 24}


def test_columns_of_labels_groups_and_splits_are_those_of_a_table(folder: Path, tmp_path: Path):
    table = image_table(
        folder,
        species=[f"kind {at % 4}" for at in range(36)],
        patient_id=[at // 4 for at in range(36)],
        split=["train" if at % 3 else "test" for at in range(36)],
    )
    path = write_parquet(table, tmp_path / "a.parquet")
    source = opened(path, label_column="species", group_column="patient_id")
    assert source.classes == ["kind 0", "kind 1", "kind 2", "kind 3"]
    assert [sample.group for sample in source.samples[:8]] == ["0"] * 4 + ["1"] * 4
    assert splits_of(source) == {"train": 24, "test": 12}
    assert [finding.code for finding in opened(path).findings] == ["group_suggested"]
    with pytest.raises(InputError, match=r'a\.parquet: has no column "kind", but .*species.*change data\.label_column'):
        opened(path, label_column="kind")
    unlabelled = table.drop_columns(["label", "split"])
    with pytest.raises(InputError, match=r"has no column that is called like labels.*set data\.label_column"):
        opened(write_parquet(unlabelled, tmp_path / "b.parquet"))
    with pytest.raises(InputError, match=r"has no column of images, but species, patient_id; set data\.path_column"):
        opened(write_parquet(unlabelled.drop_columns(["image"]), tmp_path / "c.parquet"))


def test_lists_and_columns_of_0_and_1_are_several_labels_per_image(folder: Path, tmp_path: Path):
    sets = [["dark", "light"][: at % 3] for at in range(36)]
    bits = {name: [int(name in labels) for labels in sets] for name in ("dark", "light")}
    table = image_table(folder).drop_columns(["label"])
    lists = table.append_column("label", pa.array(sets))
    numbers = pa.array([[["dark", "light"].index(label) for label in labels] for labels in sets])
    feature = {"label": {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["dark", "light"]}}}
    described = table.append_column("label", numbers).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": feature}})}
    )
    flags = table.append_column("dark", pa.array(bits["dark"])).append_column("light", pa.array(bits["light"]))
    sources = [
        opened(write_parquet(table, tmp_path / f"{at}.parquet")) for at, table in enumerate((lists, described, flags))
    ]

    def tagged(label: str, number: int) -> dict[str, bytes]:
        return {".json": json.dumps({"label": sets[number * 12]}).encode()}

    shards = opened(write_shards(folder, tmp_path / "shards", ["all.tar"], tagged), task="multilabel")
    assert shards.classes == []
    for source in sources:
        assert (source.task, source.classes) == ("multilabel", ["dark", "light"])
        assert [sample.text for sample in source.samples] == [";".join(labels) for labels in sets]


def test_images_without_a_label_are_left_out_and_predicted(folder: Path, tmp_path: Path):
    table = image_table(folder)
    labels = [-1 if at >= 30 else label for at, label in enumerate(table["label"].to_pylist())]
    path = save_to_disk(table.set_column(1, "label", pa.array(labels)), tmp_path / "set")
    source = opened(path)
    assert len(source.samples) == 30
    assert [finding.message for finding in source.findings] == [
        "6 images have no label and are left out: `tltui predict` classifies them"
    ]
    assert len(list(list_images(path))) == 36


def test_damaged_images_and_files_are_named(folder: Path, tmp_path: Path):
    images = image_table(folder)["image"].to_pylist()
    images[3]["bytes"], images[5]["bytes"] = b"", images[5]["bytes"][:300]
    table = image_table(folder).set_column(0, "image", pa.array(images))
    for path in (write_parquet(table, tmp_path / "a.parquet"), save_to_disk(table, tmp_path / "set", 1)):
        found = scan(DataConfig(path=str(path)), lambda *_: None)
        assert [one.path.rpartition("/")[2] for one in found.unreadable] == ["000003", "000005"]
        assert found.summary.images == 34
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.parquet: can't be read \(.*copy or write it again"):
        opened(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(whole[:5000] + bytes(4000) + whole[9000:])
    source = opened(tmp_path / "a.parquet")
    with pytest.raises((OSError, SyntaxError)) as refused:
        contents(source)
    assert why_unreadable(refused.value)
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "../a.parquet"}]}')
    with pytest.raises(InputError, match="names no files in its folder"):
        opened(tmp_path / "set")
    with pytest.raises(InputError, match=r"shard-002\.tar is not there"):
        opened(numbered_shards(folder, tmp_path / "shards") / "shard-{000..002}.tar")


def test_without_pyarrow_one_sentence_says_how_to_install_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = [one_parquet(folder, tmp_path / "a"), saved(folder, tmp_path / "b")]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for path in paths:
        with pytest.raises(InputError, match=r'needs pyarrow; run pip install "tltui\[parquet\]"'):
            opened(path)


def test_folders_of_images_stay_class_folders(folder: Path, tmp_path: Path):
    path = shutil.copytree(folder, tmp_path / "set")
    write_parquet(image_table(folder), path / "labels.parquet")
    with tarfile.open(path / "original.tar", "w") as archive:
        archive.add(folder, "original")
    assert source_of(path) == "folder"
    assert contents(opened(path)) == contents(opened(folder))


def test_a_run_on_parquet_files_is_that_on_the_folder(
    folder: Path, tmp_path: Path, session: Sessions, config: Callable[..., RunConfig]
):
    paths = [folder, one_parquet(folder, tmp_path / "parquet")]
    runs: list[Session] = []
    for path in paths:
        runs.append(session(config(data={"source": "auto", "path": str(path)}, train={"epochs": 1})))
        fit(runs[-1])
        runs[-1].context.log.sync()
    first, second = runs
    assert (first.data.keys == second.data.keys).all()
    assert first.data.splits == second.data.splits
    assert [one.train_loss for one in first.epochs] == [one.train_loss for one in second.epochs]
    run = second.context.folder
    other = saved(folder, tmp_path / "saved")
    trained = load_trained_run(run)
    assert re_evaluate(trained, "", other, "cpu", quiet, lambda *_: None).count == 36
    assert re_evaluate(trained, "val", None, "cpu", quiet, lambda *_: None).count == len(second.data.splits["val"])
    answers = list(predict(open_run(run), find_images([other]), quiet))
    assert [one.path.rpartition("/")[2] for one in answers] == [f"{at:06}" for at in (*range(18), *range(18))]
    assert all(isinstance(one, Prediction) for one in answers)
