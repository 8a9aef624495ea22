"""Datasets as people have them: every layout of folders and tables is read as meant, or refused with what to do."""

from __future__ import annotations

import shlex
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.config.schema import DataConfig
from engine.data.image import open_image
from engine.data.label_table import write_label_table
from engine.data.source import Sample, Source
from engine.data.sources import open_source
from engine.data.splits import assign_splits
from engine.errors import InputError
from engine.export.predict import find_images
from engine.files.stored_file import DiskFile
from tltui.widgets.image_folder import scan

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)


def images(folder: Path, count: int = 2, name: str = "p{}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.roll(PIXELS, number)).save(folder / name.format(number))
    return folder


def classes(folder: Path, *names: str, count: int = 2) -> Path:
    for name in names or ("ash", "oak"):
        images(folder / name, count)
    return folder


def opened(path: Path, **settings: object) -> Source:
    return open_source(DataConfig(path=str(path), **settings))  # pyright: ignore[reportArgumentType]


def splits(source: Source) -> dict[str, int]:
    return dict(Counter(sample.split for sample in source.samples))


def warning(source: Source, code: str) -> str:
    (message,) = [finding.message for finding in source.findings if finding.code == code]
    return message


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("TRAIN", "Valid", "val"),
        ("Training_Set", "Testing Set", "test"),
        ("train_data", "dev", "val"),
        ("trees_train", "trees_holdout", "test"),
        ("trainset", "eval", "val"),
        ("train-images", "validation_images", "val"),
    ],
)
def test_splits_are_known_in_any_case_and_with_affixes(train: str, other: str, split: str, tmp_path: Path):
    classes(tmp_path / train, count=3)
    classes(tmp_path / other, count=1)
    source = opened(tmp_path)
    assert splits(source) == {"train": 6, split: 2}
    assert source.classes == ["ash", "oak"]
    assert not source.findings


def test_doubled_split_folders_are_descended(tmp_path: Path):
    classes(tmp_path / "tree_train" / "tree_train", count=3)
    classes(tmp_path / "tree_test" / "tree_test", count=1)
    assert splits(opened(tmp_path)) == {"train": 6, "test": 2}


def test_a_class_may_be_called_like_a_split(tmp_path: Path):
    classes(tmp_path, "train", "plane", "freight_train")
    assert opened(tmp_path).classes == ["freight_train", "plane", "train"]


def test_folders_that_look_like_splits_without_names_are_refused(tmp_path: Path):
    classes(tmp_path / "part_a")
    classes(tmp_path / "part_b")
    with pytest.raises(InputError, match=r"part_a/, part_b/ hold the same folders \(ash, oak\).*data\.class_depth = 1"):
        opened(tmp_path)
    assert opened(tmp_path, class_depth=1).classes == ["part_a", "part_b"]
    assert opened(tmp_path, class_depth=2).classes == ["ash", "oak"]


def test_folders_that_are_not_used_are_named_in_one_warning(tmp_path: Path):
    classes(tmp_path / "train")
    classes(tmp_path / "extra")
    images(tmp_path / "test", 3)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "ash.json").write_text("{}")
    source = opened(tmp_path)
    assert splits(source) == {"train": 4}
    message = warning(source, "unused_folders")
    assert "labels/ (no images)" in message
    assert "extra/ (a name of no split)" in message
    assert "test/ (3 images without labels: `tltui predict`" in message


def test_a_test_folder_with_one_folder_that_is_no_class_is_unlabelled(tmp_path: Path):
    classes(tmp_path / "train")
    images(tmp_path / "test" / "unknown")
    source = opened(tmp_path)
    assert splits(source) == {"train": 4}
    assert "test/unknown/ (images without a class of train/" in warning(source, "unused_folders")


def test_folders_that_hold_one_folder_are_descended(tmp_path: Path):
    classes(tmp_path / "archive" / "trees" / "train")
    classes(tmp_path / "archive" / "trees" / "dev", count=1)
    (tmp_path / "__MACOSX" / "trees").mkdir(parents=True)
    (tmp_path / "LICENSE").write_text("free")
    source = opened(tmp_path)
    assert splits(source) == {"train": 4, "val": 2}
    assert "archive/trees/" in warning(source, "wrapped_folder")


def test_class_folders_without_images_are_passed_over(tmp_path: Path):
    classes(tmp_path)
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "ash.xml").write_text("<a/>")
    source = opened(tmp_path)
    assert source.classes == ["ash", "oak"]
    assert warning(source, "unused_folders") == "not used: boxes/ (no images)"


@pytest.mark.parametrize("name", ["{}.{}.png", "{}_{}.png", "{} ({}).png"])
def test_classes_in_file_names_are_refused_with_the_command_that_makes_a_table(name: str, tmp_path: Path):
    for label in ("ash", "oak"):
        images(tmp_path, 3, name.replace("{}", label, 1))
    with pytest.raises(InputError, match=r"begin with a class \(ash, oak\): `tltui new .* --label-from"):
        opened(tmp_path)


def test_a_flat_train_folder_is_refused_and_not_taken_for_a_class(tmp_path: Path):
    images(tmp_path / "train", 4)
    images(tmp_path / "test", 4)
    with pytest.raises(InputError, match="train/ holds images and no class folders"):
        opened(tmp_path)


def test_nested_class_folders_are_reported_and_can_be_chosen(tmp_path: Path):
    classes(tmp_path / "conifer", "fir", "pine")
    classes(tmp_path / "broadleaf", "ash", "oak", "elm")
    source = opened(tmp_path)
    assert source.classes == ["broadleaf", "conifer"]
    assert "the class is the top folder (broadleaf, conifer), data.class_depth = 2" in warning(source, "nested_classes")
    assert not opened(tmp_path, class_depth=1).findings
    assert opened(tmp_path, class_depth=2).classes == ["ash", "elm", "fir", "oak", "pine"]


def test_the_content_decides_what_is_an_image(tmp_path: Path):
    classes(tmp_path, count=1)
    for number, (kind, name) in enumerate(
        [("JPEG", "a"), ("PNG", "b.dat"), ("AVIF", "c.avif"), ("JPEG2000", "d.jp2"), ("WEBP", "e"), ("BMP", "f.raw"),
         ("TIFF", "g"), ("GIF", "h.bak"), ("PPM", "i"), ("ICO", "j")]
    ):  # fmt: skip
        image = Image.fromarray(np.roll(np.kron(PIXELS, np.ones((4, 4, 1), np.uint8)), number))
        image.save(tmp_path / "ash" / name, kind)
    (tmp_path / "oak" / "notes.txt").write_text("words")
    (tmp_path / "oak" / "model.bin").write_bytes(b"\1\2\3")
    (tmp_path / "oak" / "Thumbs.db").write_bytes(b"x")
    source = opened(tmp_path)
    assert len(source.samples) == 12
    assert "2 files are no images by name and content: 1 .bin, 1 .txt" in warning(source, "files_passed_over")
    assert len(find_images([tmp_path])) == 12


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="the decoder is installed")
def test_heic_without_the_decoder_says_what_to_install():
    with pytest.raises(OSError, match="pip install pillow-heif"):
        open_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def table(folder: Path, text: str, name: str = "trees.csv") -> Path:
    """A table beside a folder ``pic`` with the images 00.png to 23.png."""
    images(folder / "pic", 24, "{:02}.png")
    (folder / name).write_text(text)
    return folder / name


def rows(line: str, count: int = 24) -> str:
    """``line`` for each image, with its ``number`` and its ``label``."""
    return "".join(line.format(n=number, label=("ash", "oak")[number % 2]) + "\n" for number in range(count))


def read(path: Path, **settings: object) -> Source:
    return opened(path, source="csv", **settings)


@pytest.mark.parametrize(
    "text",
    [
        "filename,class\n" + rows("pic/{n:02}.png,{label}"),
        "Image ID;Target\n" + rows("pic/{n:02};{label}"),
        "file\tcategory\n" + rows("pic/{n:02}.png\t{label}"),
        "path , label \n" + rows(" pic/{n:02}.png , {label} "),
        "label,image\n" + rows("{label},pic/{n:02}.png"),
    ],
)
def test_columns_with_usual_names_are_found_and_blanks_dropped(text: str, tmp_path: Path):
    source = read(table(tmp_path, text))
    assert source.classes == ["ash", "oak"]
    assert len(source.samples) == 24
    assert source.file is not None
    assert source.file(3) == DiskFile(tmp_path / "pic" / "03.png")


def test_columns_of_any_name_can_be_chosen(tmp_path: Path):
    text = "datei|x,baum,teil\n" + rows("pic/{n:02}.png,{label},Training")
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=r"has datei\|x, baum, teil; .*data.path_column and data.label_column"):
        read(path)
    source = read(path, path_column="datei|x", label_column="baum", split_column="teil")
    assert splits(source) == {"train": 24}
    with pytest.raises(InputError, match=r'has no column "tree".*change data.label_column'):
        read(path, path_column="datei|x", label_column="tree")


@pytest.mark.parametrize(
    ("heading", "says"),
    [
        ("image,weight_kg,patient,split", r'needs the column label, .*set data\.label_column = "weight_kg"$'),
        ("image,height,weight,split", r"needs the column label, .*set data\.label_column$"),
        ("datei,label,patient,split", r'needs the column path, .*set data\.path_column = "datei"$'),
    ],
)
def test_the_one_column_that_is_missing_is_named(heading: str, says: str, tmp_path: Path):
    with pytest.raises(InputError, match=says):
        read(table(tmp_path, f"{heading}\n" + rows("pic/{n:02}.png,{n}.5,{n},train")))


@pytest.mark.parametrize("name", ["labels", "Tags"])
def test_a_column_of_labels_may_be_called_in_the_plural(name: str, tmp_path: Path):
    text = f"path,{name}\n" + rows("pic/{n:02}.png,{label};tree")
    assert read(table(tmp_path, text)).classes == ["ash", "oak", "tree"]


def test_a_table_beside_a_folder_of_images_is_read_or_says_what_it_lacks(tmp_path: Path):
    table(tmp_path, "image,weight_kg\n" + rows("pic/{n:02}.png,{n}.5"))
    for open_path in (opened, scan):
        with pytest.raises(InputError, match=r'trees\.csv: needs .*data\.label_column = "weight_kg"'):
            open_path(tmp_path)
    source = opened(tmp_path, label_column=["weight_kg"])
    assert (source.task, warning(source, "table_found")) == (
        "regression", f"{tmp_path} holds no class folders; the labels are read from trees.csv",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_folder", "names"), [({"a": "ash", "b": "oak"}, ["a", "b"]), ({"a": "", "b": ""}, ["ash", "oak"])]
)
def test_folders_are_no_classes_where_a_table_labels_their_images_differently(
    of_folder: dict[str, str], names: list[str], tmp_path: Path
):
    classes(tmp_path, "a", "b", count=4)
    lines = [f"{at}/p{n},{of_folder[at] or ('ash', 'oak')[n % 2]}" for at in "ab" for n in range(4)]
    (tmp_path / "trees.csv").write_text("\n".join(["image,label", *lines]))
    source = opened(tmp_path)
    assert source.classes == names
    assert list(scan(tmp_path).counts) == names
    assert opened(tmp_path, class_depth=1).classes == ["a", "b"]
    if names == ["ash", "oak"]:
        assert "trees.csv, which names images of different labels" in warning(source, "table_found")


def test_an_image_may_have_no_label_where_others_have_several(tmp_path: Path):
    several = "path,label\n" + rows("pic/{n:02}.png,{label};tree").replace("03.png,oak;tree", "03.png,")
    source = read(table(tmp_path, several))
    assert (source.task, source.classes) == ("multilabel", ["ash", "oak", "tree"])
    assert source.samples[3].target == (0, 0, 0)
    with pytest.raises(InputError, match=r'line 5: label is empty; .*set data\.task = "multilabel" if an image may'):
        read(table(tmp_path, several.replace(";tree", "")))
    with pytest.raises(InputError, match=r"line 5: label is empty; fill it in, or remove the row$"):
        read(table(tmp_path, "path,label\n" + rows("pic/{n:02}.png,{n}.5").replace("03.png,3.5", "03.png,")))


def test_refusals_of_numbers_do_not_speak_of_classes(tmp_path: Path):
    numbers = "path,label\n" + rows("pic/{n:02}.png,{n}.5") + "pic/00.png,7.25\n"
    with pytest.raises(
        InputError, match=r"1 image has two numbers: pic/00.png \(0.5, 7.25\); keep one number per im.*e$"
    ):
        read(table(tmp_path, numbers))
    folders = classes(tmp_path / "folders")
    with pytest.raises(InputError, match=r'numbers come from a column of a table; set data\.task to "single"'):
        opened(folders, task="regression")


def test_ids_are_found_below_the_root_folder_and_the_error_says_where(tmp_path: Path):
    path = table(tmp_path, "image_id,label\n" + rows("{n:02},{label}"))
    with pytest.raises(InputError, match=rf"looked for as {tmp_path}/00, .*set data.root"):
        read(path)
    assert len(read(path, root=str(tmp_path / "pic")).samples) == 24
    Image.fromarray(PIXELS).save(tmp_path / "pic" / "05.bmp")
    with pytest.raises(InputError, match=r"line 7: 05 may be 05.bmp or 05.png"):
        read(path, root=str(tmp_path / "pic"))


def test_splits_in_a_table_are_spelled_as_folders_are(tmp_path: Path):
    text = "path,label,fold\n" + rows("pic/{n:02}.png,{label},Training", 20)
    path = table(tmp_path, text + "pic/20.png,ash,DEV\npic/21.png,oak,Testing\n")
    assert splits(read(path)) == {"train": 20, "val": 1, "test": 1}


def test_numbered_folds_are_not_splits_and_are_named(tmp_path: Path):
    source = read(table(tmp_path, "path,label,fold\n" + rows("pic/{n:02}.png,{label},3")))
    assert splits(source) == {"": 24}
    assert 'the column fold holds "3"' in warning(source, "column_not_used")


def test_an_image_with_two_labels_is_refused_and_a_repeated_row_is_dropped(tmp_path: Path):
    text = "path,label\n" + rows("pic/{n:02}.png,{label}")
    source = read(table(tmp_path, text + "pic/00.png,ash\n"))
    assert len(source.samples) == 24
    assert warning(source, "rows_repeated").startswith("1 rows")
    with pytest.raises(InputError, match=r"7 images have two labels: pic/00 \(ash, elm\), .*04 \(ash, elm\); "):
        read(table(tmp_path, text + "".join(f"pic/{number:02},elm\n" for number in range(7))))


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n" + rows("pic/{n:02}.png,{label}").replace("23.png,oak", "23.png,ash;oak"),
        "path,label\n" + rows("pic/{n:02}.png,{label}").replace("23.png,oak", "23.png,ash oak"),
        "path,ash,oak\n" + rows("pic/{n:02}.png,0,1").replace("22.png,0", "22.png,1"),
    ],
)
def test_several_labels_per_image_are_found_and_named(text: str, tmp_path: Path):
    source = read(table(tmp_path, text))
    assert (source.task, source.classes) == ("multilabel", ["ash", "oak"])
    assert 'data.task = "multilabel"' in warning(source, "task_guessed")


@pytest.mark.parametrize("label", ["{n}.25", "{n}"])
def test_numbers_are_to_be_predicted_and_that_is_said(label: str, tmp_path: Path):
    source = read(table(tmp_path, "path,label\n" + rows("pic/{n:02}.png," + label)))
    assert (source.task, source.classes) == ("regression", ["label"])
    assert "the labels are 24 numbers such as 0" in warning(source, "task_guessed")


@pytest.mark.parametrize("names", [("polar bear", "bear"), ("missile", "projectile, missile"), ("3", "7")])
def test_names_with_blanks_commas_and_digits_are_classes(names: tuple[str, str], tmp_path: Path):
    text = "path,label\n" + "".join(f'pic/{number:02}.png,"{names[number % 2]}"\n' for number in range(24))
    assert read(table(tmp_path, text)).classes == sorted(names)


def test_a_column_that_looks_like_groups_is_suggested(tmp_path: Path):
    path = table(tmp_path, "path,label,Patient ID\n" + rows("pic/{n:02}.png,{label},{n}").replace(",1", ",0"))
    assert 'data.group_column = "Patient ID"' in warning(read(path), "group_suggested")
    assert not read(path, group_column="Patient ID").findings


def test_a_group_stays_in_one_split_and_classes_stay_balanced(tmp_path: Path):
    samples = [Sample(f"{i}.png", i // 4 % 3, "", str(i // 4)) for i in range(400)]
    config = DataConfig(path="x", val_fraction=0.2, test_fraction=0.1)
    found = assign_splits(samples, config, 1)
    assert found == assign_splits(samples, config, 1) != assign_splits(samples, config, 2)
    groups = {name: {samples[i].group for i in members} for name, members in found.items()}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 100
    for name, share in (("val", 0.2), ("test", 0.1)):
        for label in range(3):
            of_class = [i for i, sample in enumerate(samples) if sample.label == label]
            assert len(set(of_class) & set(found[name])) / len(of_class) == pytest.approx(share, abs=0.04)


def test_missing_validation_is_cut_from_training_by_group():
    samples = [Sample(f"{i}.png", i % 2, "train" if i < 80 else "test", str(i // 4)) for i in range(100)]
    found = assign_splits(samples, DataConfig(path="x", val_fraction=0.25), 0)
    assert not {samples[i].group for i in found["train"]} & {samples[i].group for i in found["val"]}
    assert len(found["val"]) == 20
    assert found["test"] == list(range(80, 100))


def test_a_table_is_written_from_the_classes_in_file_names(tmp_path: Path):
    for label in ("ash", "oak"):
        images(tmp_path / "pic", 3, f"{label} ({{}}).png")
    with pytest.raises(InputError) as refused:
        opened(tmp_path / "pic")
    command = str(refused.value).split("`")[1]
    assert write_label_table(tmp_path / "pic", shlex.split(command)[-1], tmp_path / "labels.csv") == 2
    source = read(tmp_path / "labels.csv")
    assert {(sample.key, source.classes[sample.label]) for sample in source.samples} == {
        (f"pic/{label} ({number}).png", label) for label in ("ash", "oak") for number in range(3)
    }
    with pytest.raises(InputError, match="is there already"):
        write_label_table(tmp_path / "pic", "(.).*", tmp_path / "labels.csv")
    with pytest.raises(InputError, match="does not match --label-from"):
        write_label_table(tmp_path / "pic", r"(\d+)", tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.parametrize("name", ["images.feather", "notes"])
def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"FEA1")
    with pytest.raises(InputError, match="is no folder, archive or table, nor Parquet"):
        open_source(DataConfig(path=str(tmp_path / name)))


def test_a_wrapping_folder_called_like_two_splits_is_no_split(tmp_path: Path):
    for label in ("ash", "oak"):
        images(tmp_path / "training_testing" / label, 2)
    assert opened(tmp_path).classes == ["ash", "oak"]
