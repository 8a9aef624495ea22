"""How images get into splits: the dataset's own, random ones, folds, a file; a few per class for a quick try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import DataConfig, RunConfig
from engine.config.toml_io import from_tables, load
from engine.data.selection import select_images
from engine.data.source import Sample, Source
from engine.data.splits import assign_splits
from engine.errors import InputError
from tests.conftest import make_images
from tests.engine.prepared_data import prepared


def dataset(samples: list[Sample]) -> Source:
    def no_image(_index: int) -> Any:  # noqa: ANN401
        raise AssertionError("nothing is decoded here")

    return Source(["cat", "dog"], samples, no_image)


def split(samples: list[Sample], seed: int = 0, **settings: Any) -> tuple[dict[str, list[str]], dict[str, str]]:  # noqa: ANN401
    """The keys in each split, and the findings by code."""
    config = DataConfig(path="x", **settings)
    selected, findings = select_images(dataset(samples), config, seed, None)
    found = assign_splits(selected.samples, config, seed)
    keys = {name: [selected.samples[i].key for i in members] for name, members in found.items()}
    return keys, dict(findings)


def own(train: int = 60, val: int = 20, test: int = 20, per_group: int = 0) -> list[Sample]:
    names = ["train"] * train + ["val"] * val + ["test"] * test
    return [
        Sample(f"{at}.png", at % 2, name, str(at // per_group) if per_group else "") for at, name in enumerate(names)
    ]


def test_random_splits_replace_those_of_the_dataset_and_say_so():
    found, findings = split(own(), split="random")
    assert {name: len(members) for name, members in found.items()} == {"train": 68, "val": 16, "test": 16}
    assert set(found["test"]) != {f"{at}.png" for at in range(80, 100)}
    assert "60 train, 20 val, 20 test" in findings["own_splits_ignored"]
    kept, said = split(own())
    assert len(kept["val"]) == 20
    assert not said


@pytest.mark.parametrize("per_group", [0, 3])
def test_each_image_validates_in_one_fold_and_classes_and_groups_are_shared_fairly(per_group: int):
    samples = [Sample(f"{at}.png", int(at < 36), "", str(at // per_group) if per_group else "") for at in range(120)]
    labels = {sample.key: sample.label for sample in samples}
    groups = {sample.key: sample.group for sample in samples}
    found = [split(samples, split="kfold", folds=5, fold=fold, test_fraction=0.0)[0] for fold in range(1, 6)]
    validated = Counter(key for fold in found for key in fold["val"])
    assert validated == Counter(labels.keys())
    for fold in found:
        assert set(fold) == {"train", "val"}
        assert len(fold["train"]) + len(fold["val"]) == 120
        assert sum(labels[key] for key in fold["val"]) == pytest.approx(36 / 5, abs=2)
        assert len(fold["val"]) == pytest.approx(24, abs=3)
        if per_group:
            assert not {groups[key] for key in fold["train"]} & {groups[key] for key in fold["val"]}
    assert found[0] == split(samples, split="kfold", folds=5, fold=1, test_fraction=0.0)[0]


def test_folds_leave_the_test_split_alone():
    found = [split(own(), split="kfold", folds=4, fold=fold) for fold in range(1, 5)]
    assert {tuple(fold["test"]) for fold, _ in found} == {tuple(f"{at}.png" for at in range(80, 100))}
    assert all(len(fold["val"]) == 20 for fold, _ in found)
    assert "20 test images stay" in found[0][1]["own_splits_ignored"]
    cut = [split(own(100, 0, 0), split="kfold", folds=5, fold=fold, test_fraction=0.2)[0] for fold in (1, 2)]
    assert cut[0]["test"] == cut[1]["test"]
    assert [len(fold["val"]) for fold in cut] == [16, 16]


def test_too_few_groups_for_the_folds_and_a_fold_that_is_none_are_refused():
    samples = [Sample(f"{at}.png", at % 2, "", str(at % 3)) for at in range(30)]
    with pytest.raises(InputError, match=r"fold 5 of 5; add images or lower data\.folds"):
        split(samples, split="kfold", fold=5, test_fraction=0.0)
    with pytest.raises(InputError, match=r"data\.fold = 6 is not one of"):
        from_tables({"data": {"path": "x", "split": "kfold", "fold": 6}})


def test_groups_that_the_datasets_own_splits_divide_are_reported():
    _, findings = split(own(per_group=8))
    assert findings["groups_in_several_splits"].startswith("1 of 13 groups (data.group_column) are in several splits")
    assert "7 in train and val" in findings["groups_in_several_splits"]
    assert not split(own(per_group=8), split="random")[1].keys() - {"own_splits_ignored"}


def test_few_images_per_class_are_the_same_for_a_seed_and_nothing_else_is_decoded():
    samples = own()
    few, _ = select_images(dataset(samples), DataConfig(path="x", limit_per_class=4), 1, None)
    counts = Counter((sample.split, sample.label) for sample in few.samples)
    assert counts == {(name, label): 4 for name in ("train", "val", "test") for label in (0, 1)}
    again, _ = select_images(dataset(samples), DataConfig(path="x", limit_per_class=4), 1, None)
    other, _ = select_images(dataset(samples), DataConfig(path="x", limit_per_class=4), 2, None)
    assert few.samples == again.samples != other.samples


def test_a_resumed_run_has_its_few_images_though_others_were_added(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 8)
    settings = config(data={"path": str(root), "limit_per_class": 4})
    warnings: list[str] = []
    data, ready, splits = prepared(settings, tmp_path, lambda code, _message: warnings.append(code))
    assert sum(ready.counts.values()) == 12
    make_images(root, 20)
    selected, _ = select_images(
        dataset([Sample(one.key, one.label, "") for one in data.samples] + [Sample("red/19.png", 0, "")]),
        settings.data,
        settings.train.seed,
        {sample.key: "train" for sample in data.samples},
    )
    assert [one.key for one in selected.samples] == [one.key for one in data.samples]
    assert splits.read_text().count("\n") == 13
    assert not warnings


def test_the_splits_of_one_run_are_those_of_another(tmp_path: Path, config: Callable[..., RunConfig]):
    root = make_images(tmp_path / "data", 12)
    data, _, splits = prepared(config(data={"path": str(root)}), tmp_path)
    (root / "red" / "00.png").unlink()
    make_images(root, 13, names=("blue",))
    warnings: list[str] = []
    settings = config(data={"path": str(root), "split": str(splits)}, train={"seed": 7})
    again, _, copy = prepared(settings, tmp_path, lambda _code, message: warnings.append(message))
    before = {data.samples[i].key: name for name, members in data.splits.items() for i in members}
    after = {again.samples[i].key: name for name, members in again.splits.items() for i in members}
    assert after == {key: name for key, name in before.items() if key != "red/00.png"}
    assert any("1 of its 36 images are not in the dataset: red/00.png" in message for message in warnings)
    assert any("1 images of the dataset are not in it and are left out: blue/12.png" in message for message in warnings)
    assert copy.read_text().count("\n") == 36


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,split\nred/00.png,training\nnone/1.png,val\n", ""),
        ("image;fold\n{root}/red/00.png;train\nred\\01.png;Validation\n", ""),
        ("path,label,split\nred/00.png,crimson,train\n", 'its label "crimson" is no class of the dataset'),
        ("path,split\nred/00.png,train\n./red/00.png,val\n", "line 3: red/00.png is in train and in val"),
        ("path,split\nred/00.png,2\n", 'line 2: split is "2"; write train, val or test'),
        ("path,split\n00.png,train\n", "none of its 1 images is in the dataset, e.g. 00.png"),
        ("path,label\n00.png,red\n", "needs the columns path and split, has path, label"),
        (None, "No such file.*set data.split to auto, random, kfold or a file"),
    ],
)
def test_a_table_of_splits_is_read_as_people_write_it_or_refused(text: str | None, says: str, tmp_path: Path):
    table = tmp_path / "splits.csv"
    if text is not None:
        table.write_text(text.format(root=tmp_path / "data"))
    source = Source(["blue", "red"], [Sample(f"red/{at:02}.png", 1, "") for at in range(3)], lambda _index: None)  # type: ignore[arg-type,return-value]
    config = DataConfig(path=str(tmp_path / "data"), split=str(table))
    if says:
        with pytest.raises(InputError, match=says) as refused:
            select_images(source, config, 0, None)
        assert str(refused.value).startswith(f"{table}: ")
    else:
        found, _ = select_images(source, config, 0, None)
        assert found.samples[0] == Sample("red/00.png", 1, "train")
        assert {one.split for one in found.samples[1:]} <= {"val"}


def test_a_file_of_splits_is_relative_to_the_config(tmp_path: Path):
    (tmp_path / "run.toml").write_text('[data]\npath = "images"\nsplit = "mine.csv"\n')
    assert load(tmp_path / "run.toml").data.split == str(tmp_path / "mine.csv")
    assert load(tmp_path / "run.toml", {"data.split": "random"}).data.split == "random"
