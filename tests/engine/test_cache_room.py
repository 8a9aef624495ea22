"""Room for the cache: a share of the disk, who uses what, and what may go."""

from __future__ import annotations

import os
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.cache.folder import limit, used
from engine.cache.listing import clear, spaces
from engine.cache.space import CacheSpace
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


class Disk:
    """Makes the disk of ``root`` look as large as ``size`` and empty but for the cache."""

    def __init__(self, root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def statvfs(_path: object) -> SimpleNamespace:
            taken = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
            return SimpleNamespace(f_bavail=max(0, size - taken), f_frsize=1)

        monkeypatch.setattr(os, "statvfs", statvfs)


def fill(root: Path, identity: str, size: int, problems: Problems | None = None) -> CacheSpace:
    space = open_space(root, identity, problems)
    space.append(keys_of(identity), [np.full(size, 7, np.uint8)])
    space.publish()
    return space


def test_the_cache_takes_half_of_the_free_disk_and_drops_what_was_unused_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Disk(tmp_path, 10_000_000, monkeypatch)
    names = ["a0" * 16, "b0" * 16, "c0" * 16, "d0" * 16]
    for age, name in enumerate(names[:3]):
        fill(tmp_path, name, 1_500_000).close()
        os.utime(tmp_path / "features" / name / "lock", (1000 + age, 1000 + age))
    open_space(tmp_path, names[0]).close()  # used again: b0 is now the one unused for longest
    held = fill(tmp_path, names[3], 1_500_000)
    assert {space.identity for space in spaces(tmp_path)} == {names[0], names[2], names[3]}
    assert used(tmp_path) <= limit(tmp_path) <= 5_000_000
    held.close()


def hold_open(root: Path, identity: str, told: Connection, until: Connection) -> None:
    space = open_space(root, identity)
    told.send("open")
    until.recv()
    check_present(space, keys_of(identity))
    assert space.present(keys_of(identity)).all()
    space.close()


def test_what_a_living_process_uses_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Disk(tmp_path, 10_000_000, monkeypatch)
    old, new = "a0" * 16, "b0" * 16
    fill(tmp_path, old, 3_000_000).close()
    told, tell = PROCESSES.Pipe(duplex=False)
    until, end = PROCESSES.Pipe(duplex=False)

    def use() -> None:
        space = open_space(tmp_path, old)
        tell.send("open")
        until.recv()
        assert space.read(keys_of(old))[0].sum() == 3_000_000 * 7

    user = start(use)
    assert told.recv() == "open"
    os.utime(tmp_path / "features" / old / "lock", (1000, 1000))
    problems = Problems()
    full = fill(tmp_path, new, 3_000_000, problems)
    full.append(keys_of("more"), [np.zeros(3_000_000, np.uint8)])
    full.publish()
    assert problems == ["cache_full"]
    assert full.present(keys_of(new, "more")).all()  # in memory
    assert used(tmp_path) <= limit(tmp_path)
    assert [space.in_use for space in spaces(tmp_path) if space.identity == old] == [True]
    clear(tmp_path)
    assert {space.identity for space in spaces(tmp_path)} == {old, new}
    end.send("")
    ends_well(user)
    full.close()
    assert clear(tmp_path) >= 3_000_000
    assert spaces(tmp_path) == []


def test_a_killed_user_holds_nothing(tmp_path: Path):
    fill(tmp_path, IDENTITY, 1000).close()
    told, tell = PROCESSES.Pipe(duplex=False)
    until, _end = PROCESSES.Pipe(duplex=False)
    user = start(hold_open, tmp_path, IDENTITY, tell, until)
    told.recv()
    assert [space.in_use for space in spaces(tmp_path)] == [True]
    kill(user)
    assert [space.in_use for space in spaces(tmp_path)] == [False]
    clear(tmp_path)
    assert spaces(tmp_path) == []


def fill_until_killed(root: Path, told: Connection) -> None:
    space = open_space(root)
    with space.filling(b"work") as mine:
        keys = keys_of(1, 2)
        space.append(keys, rows_of(keys))
        space.publish()
        told.send(mine)
        threading.Event().wait()


def test_of_two_processes_one_fills_and_the_other_takes_over_where_it_dies(tmp_path: Path):
    receive, send = PROCESSES.Pipe(duplex=False)
    filler = start(fill_until_killed, tmp_path, send)
    assert receive.recv() is True
    space = open_space(tmp_path)
    with space.filling(b"work") as mine:
        assert not mine
    with space.filling(b"other work") as mine:
        assert mine
    kill(filler)
    with space.filling(b"work") as mine:
        assert mine
        check(space, keys_of(1, 2))


def test_a_list_of_spaces_says_what_they_are(tmp_path: Path):
    space = open_space(tmp_path)
    keys = keys_of(*range(70))
    space.append(keys[:30], rows_of(keys[:30]))
    space.publish()
    space.append(keys[30:], rows_of(keys[30:]))
    space.close()
    CacheSpace(tmp_path, "features", IDENTITY, {"data": "flowers", "model": "net"}, Problems(), 0).close()
    (info,) = spaces(tmp_path)
    assert (info.kind, info.rows, info.in_use) == ("features", 70, False)
    assert info.about == {"data": ["flowers", "photos"], "model": ["net"]}
    assert info.bytes > sum(row.nbytes for row in rows_of(keys))
    assert abs(info.last_used - time.time()) < 60
