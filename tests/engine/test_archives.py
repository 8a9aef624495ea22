"""Datasets in archives, read in place: the rules of folders, random access, and archives that mean harm."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.cache.file_digests import FileDigests
from engine.config.schema import DataConfig
from engine.data.decode import open_sample, read_file
from engine.data.image import why_unreadable
from engine.data.source import Source
from engine.data.sources import open_source
from engine.errors import InputError
from tests.conftest import make_images
from tests.engine.cache_spaces import ends_well, start

Pack = Callable[[Path, Path], Path]


def as_zip(folder: Path, name: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = name.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def as_stored_zip(folder: Path, name: Path) -> Path:
    return as_zip(folder, name, zipfile.ZIP_STORED)


def as_bzip2_zip(folder: Path, name: Path) -> Path:
    return as_zip(folder, name, zipfile.ZIP_BZIP2)


def as_tar(folder: Path, name: Path) -> Path:
    path = name.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "./")
    return path


packed = pytest.mark.parametrize("pack", [as_zip, as_stored_zip, as_bzip2_zip, as_tar])


def opened(path: Path, **settings: object) -> Source:
    return open_source(DataConfig.model_validate({"path": str(path), **settings}))


def codes(source: Source) -> set[str]:
    return {finding.code for finding in source.findings}


def contents(source: Source) -> list[tuple[str, str, str, bytes]]:
    """Key, class, split and content key of every image."""
    return sorted(
        (one.key, source.classes[one.label], one.split, open_sample(source, at, read_file)[0])
        for at, one in enumerate(source.samples)
    )


def plain(root: Path) -> None:
    make_images(root, per_class=3)


def split_and_wrapped(root: Path) -> None:
    make_images(root / "flowers" / "Training", per_class=3)
    make_images(root / "flowers" / "Testing", per_class=2)
    (root / "flowers" / "README.txt").write_text("flowers")
    make_images(root / "__MACOSX" / "flowers" / "Training", per_class=1)


def nested_and_odd(root: Path) -> None:
    make_images(root / "a", per_class=2)
    make_images(root / "b", per_class=2)
    (root / "notes").mkdir()
    (root / "a" / "red" / "00.png").rename(root / "a" / "red" / "no_suffix")
    (root / "b" / "red" / "list.xyz").write_text("no image")


@packed
@pytest.mark.parametrize(
    ("make", "settings"), [(plain, {}), (split_and_wrapped, {}), (nested_and_odd, {"class_depth": 2})]
)
def test_an_archive_is_read_as_its_folder_is(
    make: Callable[[Path], None], settings: dict[str, object], pack: Pack, tmp_path: Path
):
    folder = tmp_path / "images"
    make(folder)
    path = pack(folder, tmp_path / "images")
    inside, beside = opened(path, **settings), opened(folder, **settings)
    assert inside.classes == beside.classes
    assert contents(inside) == contents(beside)
    assert codes(inside) == codes(beside)


@packed
def test_a_table_in_an_archive_labels_the_images_beside_it(pack: Pack, tmp_path: Path):
    images = make_images(tmp_path / "raw", per_class=2)
    flat = tmp_path / "images" / "set" / "photos"
    flat.mkdir(parents=True)
    lines = ["image,label"]
    for file in sorted(images.rglob("*.png")):
        name = f"{file.parent.name}-{file.name}"
        shutil.copy(file, flat / name)
        lines.append(f"../set/photos/{name},{file.parent.name}")
    (flat.parent / "train.csv").write_text("\n".join(lines))
    (flat.parent / "test.csv").write_text("image\nx.png")
    path = pack(tmp_path / "images", tmp_path / "images")
    source = opened(path)
    assert codes(source) == {"table_found"}
    assert [label for _, label, _, _ in contents(source)] == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2
    assert contents(opened(path / "set" / "train.csv")) == contents(source)
    assert contents(opened(tmp_path / "images")) == contents(source)


@packed
def test_threads_and_forks_read_the_same_bytes(pack: Pack, tmp_path: Path):
    source = opened(pack(make_images(tmp_path / "images", per_class=20), tmp_path / "images"))
    wanted = contents(source)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: open_sample(source, at, read_file)[0], list(range(len(wanted))) * 4))
    assert found == [open_sample(source, at, read_file)[0] for at in range(len(wanted))] * 4

    def read_all() -> None:
        assert contents(source) == wanted

    for process in [start(read_all), start(read_all)]:
        ends_well(process)


def test_a_member_is_known_by_its_digest_until_the_archive_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    path = as_zip(make_images(tmp_path / "images", per_class=2), tmp_path / "images")
    files = FileDigests(tmp_path / "cache")
    source = opened(path)
    assert source.file is not None
    keys = [files.read(source.file(at), 10**6)[0] for at in range(6)]
    assert len(set(keys)) == 6
    files.save()
    known = FileDigests(tmp_path / "cache")
    assert [known.get(source.file(at)) for at in range(6)] == keys
    again = opened(as_zip(tmp_path / "images", tmp_path / "again"))
    assert again.file is not None
    assert known.get(again.file(0)) is None


def with_members(folder: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """A zip archive with two images in each of three classes, and more members."""
    path = as_zip(make_images(folder / "images", per_class=2), folder / "images")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_repeat_or_lead_out_of_an_archive_do_no_harm(tmp_path: Path):
    image = (make_images(tmp_path / "raw", per_class=1) / "red" / "00.png").read_bytes()
    path = with_members(
        tmp_path,
        ("../../red/up.png", image),
        ("/red/top.png", image),
        ("red\\back.png", image),
        ("red/00.png", image),
        ("./blue//00.png", image),
        ("red/00.png/under.png", image),
    )
    before = sorted(tmp_path.rglob("*"))
    source = opened(path)
    keys = [key for key, *_ in contents(source)]
    assert set(keys) - {"blue/01.png", "green/00.png", "green/01.png", "red/01.png"} == {
        "blue/00.png",
        "red/00.png",
        "red/00.png/under.png",
        "red/back.png",
        "red/top.png",
    }
    by_name = {key: content for key, _, _, content in contents(source)}
    assert by_name["red/00.png"] == by_name["blue/00.png"] == by_name["red/top.png"]
    messages = [finding.message for finding in source.findings if finding.code == "archive_members"]
    assert ["1 member names lead out" in message for message in messages] == [True, False]
    assert "2 member names repeat" in messages[1]
    assert sorted(tmp_path.rglob("*")) == before


def reason(source: Source, key: str) -> str:
    at = next(at for at, one in enumerate(source.samples) if one.key == key)
    try:
        open_sample(source, at, read_file)
    except OSError as error:
        return why_unreadable(error)
    return ""


def test_members_that_lie_about_their_content_are_skipped(tmp_path: Path):
    path = with_members(tmp_path, ("red/bomb.bmp", bytes(80 * 2**20)), ("red/long.png", bytes(10**6)))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"red/long.png") - 46
    struct.pack_into("<I", content, entry + 24, 10)  # it unpacks to more than it says
    entry = content.rindex(b"red/01.png") - 46
    struct.pack_into("<I", content, entry + 16, 7)  # its checksum
    path.write_bytes(content)
    source = opened(path)
    assert "zip bomb" in reason(source, "red/bomb.bmp")
    assert reason(source, "red/long.png") == reason(source, "red/01.png") == "its data are damaged"
    open_sample(source, 0, read_file)


def flagged(content: bytearray, offset: int, value: int) -> bytearray:
    """``content`` of a zip archive with a field of every entry in its directory changed."""
    at = 0
    while (at := content.find(b"PK\1\2", at)) >= 0:
        struct.pack_into("<H", content, at + offset, value)
        at += 4
    return content


def encrypted(path: Path) -> None:
    path.write_bytes(flagged(bytearray(path.read_bytes()), 8, 1))


def deflate64(path: Path) -> None:
    path.write_bytes(flagged(bytearray(path.read_bytes()), 10, 9))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def gzipped(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def seven(path: Path) -> None:
    path.write_bytes(b"7z\xbc\xaf\x27\x1c" + path.read_bytes())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (encrypted, "is encrypted; unzip it with its password"),
        (deflate64, "is packed by deflate64, which can't be read in place; unzip it"),
        (cut, "can't be read as a zip archive"),
        (gzipped, "is compressed by gzip.*run `gunzip -k .*images.zip` and use the .tar"),
        (seven, "is a 7z archive; unpack it"),
        (lambda path: path.write_bytes(b""), "can't be read as a tar archive"),
        (Path.unlink, "there is no such folder or file; set data.path to"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused_in_one_sentence(
    change: Callable[[Path], None], sentence: str, tmp_path: Path
):
    path = with_members(tmp_path)
    change(path)
    with pytest.raises(InputError, match=sentence):
        opened(path)


def test_links_in_a_tar_lead_to_members_alone(tmp_path: Path):
    images = make_images(tmp_path / "images", per_class=2)
    (images / "red" / "link.png").symlink_to("../blue/00.png")
    (images / "red" / "out.png").symlink_to("/etc/passwd")
    os.link(images / "blue" / "00.png", images / "red" / "hard.png")
    source = opened(as_tar(images, tmp_path / "images"))
    by_name = {key: content for key, _, _, content in contents(source)}
    assert by_name["red/link.png"] == by_name["red/hard.png"] == by_name["blue/00.png"]
    assert "red/out.png" not in by_name


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("folder", r'"folder", but .*images\.zip is a \.zip or \.tar; set .* to "archive" or "auto"'),
        ("csv", r'"csv", but .*images\.zip is'),
    ],
)
def test_a_source_that_contradicts_its_path_is_refused(source: str, sentence: str, tmp_path: Path):
    with pytest.raises(InputError, match=sentence):
        opened(with_members(tmp_path), source=source)


@packed
def test_a_table_beside_an_archive_labels_the_images_inside(pack: Pack, tmp_path: Path):
    folder = make_images(tmp_path / "images", per_class=2)
    rows = [f"{file.parent.name}/{file.stem},{file.parent.name}" for file in sorted(folder.rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["id,label", *rows]))
    archive = pack(folder.parent / "images", tmp_path / "photos")
    beside = opened(table, root=str(archive))
    assert [one[1:] for one in contents(beside)] == [one[1:] for one in contents(opened(folder))]
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    shutil.copytree(folder, inside / "raw")
    shutil.copy(table, inside / "deep" / "labels.csv")
    archive = pack(inside, tmp_path / "inside")
    assert contents(opened(archive / "deep" / "labels.csv", root=str(archive / "raw"))) == contents(beside)
    assert contents(opened(archive / "deep" / "labels.csv", root=str(folder))) == contents(beside)
