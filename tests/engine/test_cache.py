"""The rows of the cache under several processes, kills at any moment, damage and broken disks."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import stat
import time
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cache.feature_files import ENTRY, Keys, parse_blocks
from engine.cache.file_digests import FileDigests
from engine.cache.folder import CACHE, cache_root
from engine.cache.index_format import BLOCK, BLOCK_MAGIC
from engine.files.stored_file import DiskFile
from tests.engine.cache_spaces import (
    IDENTITY,
    PROCESSES,
    Problems,
    check,
    check_present,
    ends_well,
    keys_of,
    kill,
    open_space,
    rows_of,
    start,
)


def test_rows_come_back_as_they_were_appended_also_after_the_process(tmp_path: Path):
    keys = keys_of(*range(300))
    space = open_space(tmp_path)
    assert not space.present(keys).any()
    with pytest.raises(KeyError):
        space.read(keys[:1])
    space.append(keys[:200], rows_of(keys[:200]))
    check(space, keys[:200])
    space.publish()
    space.append(keys[150:], rows_of(keys[150:]))
    check(space, keys)
    order = np.random.default_rng(0).permutation(300)
    check(space, keys[order])
    space.close()
    check(open_space(tmp_path), keys)


def test_rows_that_are_read_can_be_changed_without_harm(tmp_path: Path):
    keys = keys_of("published", "in memory")
    space = open_space(tmp_path)
    for key in (keys[:1], keys[1:]):
        space.append(key, rows_of(key))
        if key[0] == keys[0]:
            space.publish()
        space.read(key)[0][:] = 0
    check(space, keys)


def test_folders_are_private(tmp_path: Path):
    space = open_space(tmp_path / "new")
    space.append(keys_of(1), rows_of(keys_of(1)))
    space.publish()
    for path in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "elsewhere"))
    assert cache_root() == tmp_path / "elsewhere"
    monkeypatch.delenv(CACHE)
    assert cache_root().name == "tltui"


def append_in_turns(root: Path, keys: Keys, batch: int) -> None:
    space = open_space(root)
    for at in range(0, len(keys), batch):
        space.append(keys[at : at + batch], rows_of(keys[at : at + batch]))
        space.publish()
        space.refresh()
    check(space, keys)


def test_two_processes_append_to_one_space_at_once(tmp_path: Path):
    keys = keys_of(*range(1200))
    both = [start(append_in_turns, tmp_path, keys[:800], 13), start(append_in_turns, tmp_path, keys[400:][::-1], 17)]
    reader = open_space(tmp_path)
    while any(process.is_alive() for process in both):
        reader.refresh()
        check_present(reader, keys)
    for process in both:
        ends_well(process)
    reader.refresh()
    check(reader, keys)
    assert len(list((tmp_path / "features" / IDENTITY).glob("*.idx"))) == 2
    for space in (reader, open_space(tmp_path)):
        check(space, keys)


def test_a_later_run_continues_in_the_files_of_an_earlier_one(tmp_path: Path):
    for number in range(5):
        ends_well(start(append_in_turns, tmp_path, keys_of(*range(number * 10, number * 10 + 10)), 10))
    assert len(list((tmp_path / "features" / IDENTITY).glob("*.idx"))) == 1
    check(open_space(tmp_path), keys_of(*range(50)))


def die_at(call: int) -> None:
    """End this process with SIGKILL at its ``call``-th change of a file; a write is cut in half."""
    calls = iter(range(1, 10**6))

    def deadly(name: str) -> None:
        real = getattr(os, name)

        def wrapped(*arguments: object, **options: object) -> object:
            if next(calls) == call:
                if name == "pwrite":
                    descriptor, content, at = arguments
                    real(descriptor, content[: len(content) // 2], at)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(os, name, wrapped)

    for name in ("pwrite", "fsync", "rename", "replace", "ftruncate", "truncate", "open", "mkdir"):
        deadly(name)


def write_and_tell(root: Path, keys: Keys, told: Connection, prepare: Callable[[], None] | None = None) -> None:
    """Append ``keys`` a few at a time and say after each publication how many are on disk."""
    if prepare:
        prepare()
    space = open_space(root)
    for at in range(0, len(keys), 3):
        space.append(keys[at : at + 3], rows_of(keys[at : at + 3]))
        space.publish()
        told.send(at + 3)
    space.close()


def test_a_kill_at_any_step_of_the_writing_loses_nothing_that_was_published(tmp_path: Path):
    keys = keys_of(*range(9))
    for call in range(1, 1000):
        root = tmp_path / str(call)
        receive, send = PROCESSES.Pipe(duplex=False)
        process = start(write_and_tell, root, keys, send, lambda call=call: die_at(call))
        send.close()
        process.join(60)
        published = 0
        while receive.poll():
            try:
                published = receive.recv()
            except EOFError:
                break
        space = open_space(root)
        check(space, keys[:published])
        check_present(space, keys)
        space.append(keys, rows_of(keys))
        space.close()
        check(open_space(root), keys)
        if process.exitcode == 0:
            assert call > 30
            break
        assert process.exitcode == -signal.SIGKILL


def write_for_ever(root: Path, told: Connection) -> None:
    space = open_space(root)
    for number in range(10**6):
        keys = keys_of(*range(number * 5, number * 5 + 5))
        space.append(keys, rows_of(keys))
        space.publish()
        told.send(number * 5 + 5)


def test_kills_at_random_moments_lose_nothing_that_was_published(tmp_path: Path):
    moments = random.Random(5)
    for _ in range(25):
        receive, send = PROCESSES.Pipe(duplex=False)
        process = start(write_for_ever, tmp_path, send)
        send.close()
        published = 0
        for _ in range(moments.randrange(1, 8)):
            published = receive.recv()
        time.sleep(moments.random() * 0.01)
        kill(process)
        while receive.poll():
            try:
                published = receive.recv()
            except EOFError:
                break
        space = open_space(tmp_path)
        check(space, keys_of(*range(published)))
        check_present(space, keys_of(*range(published, published + 50)))
        space.close()
    assert len(list((tmp_path / "features" / IDENTITY).iterdir())) == 4  # a pair, what it is about, a lock


@given(st.data())
def test_an_index_that_is_cut_anywhere_gives_its_whole_blocks(data: st.DataObject):
    blocks, bin_size, ends = [], 32, []
    for count in data.draw(st.lists(st.integers(1, 5), max_size=5)):
        entries = np.zeros(count, ENTRY)
        entries["key"] = keys_of(*range(count))
        bin_size += 10 * count
        body = entries.tobytes()
        checksum = zlib.crc32(body, zlib.crc32(BLOCK.pack(b"", count, bin_size, 0)[4:16]))
        blocks.append(BLOCK.pack(BLOCK_MAGIC, count, bin_size, checksum) + body)
        ends.append(bin_size)
    content = b"".join(blocks)
    cut = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(0, bin_size))
    whole = 0
    while whole < len(blocks) and len(b"".join(blocks[: whole + 1])) <= cut and ends[whole] <= size:
        whole += 1
    entries, length, rows_end = parse_blocks(content[:cut], size)
    assert length == len(b"".join(blocks[:whole]))
    assert len(entries) * ENTRY.itemsize + whole * BLOCK.size == length
    assert rows_end == (ends[whole - 1] if whole else 0)
    changed = bytearray(content)
    if changed:
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
        assert parse_blocks(bytes(changed), bin_size)[1] <= at


@given(st.binary(max_size=400))
def test_an_index_of_garbage_is_empty(content: bytes):
    entries, length, rows_end = parse_blocks(content, 2**40)
    assert (len(entries), length, rows_end) == (0, 0, 0)


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, Keys]:
    """A space's folder with three pairs of files, each of a hundred rows in ten blocks, and the keys."""
    keys = keys_of(*range(300))
    held = [open_space(tmp_path) for _ in range(3)]
    for number, space in enumerate(held):
        for at in range(number * 100, number * 100 + 100, 10):
            space.append(keys[at : at + 10], rows_of(keys[at : at + 10]))
            space.publish()
    for space in held:
        space.close()
    return tmp_path / "features" / IDENTITY, keys


def test_truncated_garbled_and_foreign_files_are_passed_over_and_removed(filled: tuple[Path, Keys]):
    path, keys = filled
    seeded = random.Random(1)
    for _ in range(30):
        copy = path.with_name("cd" * 16)
        shutil.copytree(path, copy)
        victim = seeded.choice(sorted([*copy.glob("*.idx"), *copy.glob("*.bin")]))
        size = victim.stat().st_size
        match seeded.randrange(5):
            case 0:
                os.truncate(victim, seeded.randrange(size))
            case 1:
                victim.write_bytes(seeded.randbytes(size))
            case 2:
                shutil.copy(seeded.choice(sorted(copy.glob(f"*{victim.suffix}"))), victim.with_stem("f" * 16))
            case 3:
                victim.unlink()
            case 4:
                with victim.open("ab") as file:
                    file.write(seeded.randbytes(seeded.randrange(1, 200)))
        (copy / "notes.txt").write_text("not ours")
        (copy / "deadbeef.idx").write_bytes(seeded.randbytes(100))
        (copy / "about.json").write_bytes(b"{")
        space = open_space(path.parent.parent, "cd" * 16)
        assert check_present(space, keys) >= 200
        assert not (copy / "notes.txt").exists()
        assert not (copy / "deadbeef.idx").exists()
        assert not (copy / ("f" * 16 + victim.suffix)).exists()
        space.append(keys, rows_of(keys))
        space.close()
        space = open_space(path.parent.parent, "cd" * 16)
        check(space, keys)
        space.close()
        shutil.rmtree(copy)


def test_a_space_that_others_use_is_not_tidied(filled: tuple[Path, Keys]):
    path, keys = filled
    space = open_space(path.parent.parent)
    (path / "half.bin").write_bytes(b"someone writes this now")
    other = open_space(path.parent.parent)
    assert (path / "half.bin").exists()
    check(other, keys)
    space.close()
    other.close()
    open_space(path.parent.parent)
    assert not (path / "half.bin").exists()


def test_a_file_that_is_cut_underneath_costs_rows_and_not_the_process(filled: tuple[Path, Keys]):
    path, keys = filled
    problems = Problems()
    space = open_space(path.parent.parent, problems=problems)
    victim = sorted(path.glob("*.bin"))[0]
    os.truncate(victim, 100)
    lost = 0
    for at in range(300):
        try:
            check(space, keys[at : at + 1])
        except KeyError:
            lost += 1
    assert 90 <= lost <= 100
    assert problems == ["cache_unusable"]
    assert not space.present(keys).all()
    space.append(keys, rows_of(keys))
    check(space, keys)


def test_a_folder_that_vanishes_costs_nothing_of_this_run(filled: tuple[Path, Keys]):
    path, keys = filled
    problems = Problems()
    space = open_space(path.parent.parent, problems=problems)
    shutil.rmtree(path.parent.parent)
    check(space, keys)
    more = keys_of("a", "b")
    space.append(more, rows_of(more))
    space.publish()
    space.refresh()
    check(space, keys)
    check(space, more)
    assert problems == ["cache_unusable"]
    space.close()


@pytest.mark.parametrize("broken", ["a file in its place", "no permission"])
def test_without_a_usable_folder_rows_stay_in_memory_and_it_is_said_once(broken: str, tmp_path: Path):
    if broken == "a file in its place":
        (tmp_path / "cache").write_text("")
    else:
        (tmp_path / "cache").mkdir(mode=0o500)

    def work() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)  # the superuser may write anywhere
        problems = Problems()
        space = open_space(tmp_path / "cache", problems=problems)
        keys = keys_of(1, 2, 3)
        with space.filling(b"all") as mine:
            assert mine
            space.append(keys, rows_of(keys))
        space.publish()
        space.refresh()
        check(space, keys)
        assert problems == ["cache_unusable"]
        assert FileDigests(tmp_path / "cache").get(DiskFile(tmp_path)) is None
        space.close()

    ends_well(start(work))


def test_a_full_disk_leaves_rows_in_memory_and_whole_files(tmp_path: Path):
    keys = keys_of(*range(200))

    def work() -> None:
        problems = Problems()
        space = open_space(tmp_path, problems=problems)
        space.append(keys[:50], rows_of(keys[:50]))
        space.publish()
        (written,) = (tmp_path / "features" / IDENTITY).glob("*.bin")
        resource.setrlimit(resource.RLIMIT_FSIZE, (written.stat().st_size + 3000,) * 2)
        space.append(keys[50:], rows_of(keys[50:]))
        space.publish()
        check(space, keys)
        assert problems == ["cache_unusable"]
        space.close()

    ends_well(start(work))
    space = open_space(tmp_path)
    check(space, keys[:50])
    assert not space.present(keys[50:]).any()
    assert sum(1 for _ in (tmp_path / "features" / IDENTITY).glob("*.bin")) == 1


@pytest.mark.parametrize("moment", range(5))
def test_a_disk_that_fails_at_any_write_leaves_rows_in_memory(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys = keys_of(*range(60))
    problems = Problems()
    space = open_space(tmp_path, problems=problems)
    space.append(keys[:30], rows_of(keys[:30]))
    space.publish()
    calls = iter(range(10**6))

    def failing(*_: object) -> None:
        if next(calls) == moment:
            raise OSError(errno.ENOSPC, "No space left on device")

    real_write, real_sync = os.pwrite, os.fsync
    monkeypatch.setattr(os, "pwrite", lambda *arguments: failing() or real_write(*arguments))
    monkeypatch.setattr(os, "fsync", lambda *arguments: failing() or real_sync(*arguments))
    space.append(keys[30:31], rows_of(keys[30:31]))
    space.publish()
    space.append(keys[31:], rows_of(keys[31:]))
    space.publish()
    check(space, keys)
    assert problems == ["cache_unusable"]
    monkeypatch.undo()
    space.close()
    assert check_present(open_space(tmp_path), keys) in (30, 31)
