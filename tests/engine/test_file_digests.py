"""Files that are known by their digests without being read again."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from engine.cache.file_digests import FileDigests, digest
from engine.files.stored_file import DiskFile
from tests.engine.cache_spaces import (
    ends_well,
    start,
)


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the clock is ten seconds ahead, and files of a moment ago are old."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)


def test_files_that_have_not_changed_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_bytes(b"first")
    later(monkeypatch)
    files = FileDigests(tmp_path)
    assert files.get(DiskFile(file)) is None
    assert files.read(DiskFile(file), 100) == (digest(b"first"), b"first")
    files.save()
    assert FileDigests(tmp_path).get(DiskFile(file)) == digest(b"first")
    shutil.copy2(file, tmp_path / "copy")
    assert FileDigests(tmp_path).get(DiskFile(tmp_path / "copy")) is None
    file.write_bytes(b"other")
    assert FileDigests(tmp_path).get(DiskFile(file)) is None


def test_a_file_that_just_changed_is_not_taken_as_known(tmp_path: Path):
    """It may be rewritten within one tick of the file system's clock, with the same size."""
    file = tmp_path / "file"
    for number in range(50):
        content = f"{number:05}".encode()
        file.write_bytes(content)
        before = file.stat()
        files = FileDigests(tmp_path)
        assert files.read(DiskFile(file), 100)[0] == digest(content)
        files.save()
        file.write_bytes(b"other")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert FileDigests(tmp_path).get(DiskFile(file)) is None


def test_two_processes_store_digests_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    later(monkeypatch)

    def remember(some: list[Path]) -> None:
        for path in some:
            files = FileDigests(tmp_path / "cache")
            files.read(DiskFile(path), 100)
            files.save()

    for process in [start(remember, paths[:12]), start(remember, paths[8:])]:
        ends_well(process)
    files = FileDigests(tmp_path / "cache")
    assert [files.get(DiskFile(path)) for path in paths] == [digest(path.name.encode()) for path in paths]


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_memory_of_files_is_forgotten(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    later(monkeypatch)
    files = FileDigests(tmp_path)
    files.read(DiskFile(file), 100)
    files.save()
    memory = tmp_path / "digests" / "files"
    whole = memory.read_bytes()
    memory.write_bytes({"cut": whole[:-5], "garbage": random.Random(0).randbytes(len(whole)), "empty": b""}[damage])
    files = FileDigests(tmp_path)
    assert files.get(DiskFile(file)) is None
    files.read(DiskFile(file), 100)
    files.save()
    assert FileDigests(tmp_path).get(DiskFile(file)) == digest(b"content")
