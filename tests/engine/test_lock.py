"""One engine on a run, whoever died and wherever."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs import lock
from engine.runs.folder import RunFolder, create
from engine.runs.lock import Holder, Lock, is_locked, this_process

HOLD = (
    "import sys; from pathlib import Path\n"
    "from engine.runs.lock import Lock; from engine.runs.folder import RunFolder\n"
    "lock = Lock(RunFolder(Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read(); lock.release()"
)


@pytest.fixture
def folder(tmp_path: Path, config: Callable[..., RunConfig]) -> RunFolder:
    return create(tmp_path / "runs", config())


def hold(folder: RunFolder, code: str = HOLD) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, str(folder.path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_dead_engines_lock_is_taken_at_once(folder: RunFolder):
    dead = hold(folder)
    dead.kill()
    dead.wait()
    assert not is_locked(folder)
    Lock(folder).release()


def test_the_number_of_a_dead_engine_may_belong_to_another_process(folder: RunFolder):
    folder.lock.write_bytes(msgspec.json.encode(this_process()))
    assert not is_locked(folder)
    Lock(folder).release()


def test_a_child_that_outlives_its_engine_holds_no_lock(folder: RunFolder):
    code = (
        "import os, sys, time; from pathlib import Path; from engine.runs.lock import Lock\n"
        "from engine.runs.folder import RunFolder\n"
        "lock = Lock(RunFolder(Path(sys.argv[1])))\n"
        "if os.fork() == 0: print('held', flush=True); sys.stdin.read(); os._exit(0)\n"
        "time.sleep(60)"
    )
    engine = hold(folder, code)
    assert is_locked(folder)
    engine.kill()
    engine.wait()
    assert not is_locked(folder)
    engine.communicate()


def test_a_lock_left_in_order_by_another_machine_is_taken_at_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "_boot", lambda: "another machine")
    Lock(folder).release()
    monkeypatch.undo()
    assert folder.lock.read_bytes() == b""
    Lock(folder).release()


def elsewhere(**values: object) -> Holder:
    return Holder(**{"process_id": 1, "started": "1", "boot": "another", "host": "elsewhere", **values})  # type: ignore[arg-type]


def test_an_engine_on_a_machine_whose_locks_are_not_seen_here_is_noticed_by_its_signs_of_life(folder: RunFolder):
    code = (
        "import sys, time; from pathlib import Path; import msgspec; from engine.runs.lock import Holder\n"
        "path = Path(sys.argv[1]) / 'engine.lock'; beat = 0\n"
        "while True:\n"
        "    content = Holder(process_id=1, started='1', boot='another', host='elsewhere', beat=beat)\n"
        "    path.write_bytes(msgspec.json.encode(content).ljust(512))\n"
        "    beat += 1\n"
        "    if beat == 1: print('held', flush=True)\n"
        "    time.sleep(0.5)"
    )
    there = hold(folder, code)
    try:
        with pytest.raises(InputError, match="by process 1 on elsewhere"):
            Lock(folder)
    finally:
        there.kill()
        there.wait()


def test_an_engine_that_died_on_another_machine_is_replaced_once_it_shows_no_life(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lock, "_WATCH", 0.5)
    monkeypatch.setattr(lock, "BEAT", 0.1)
    folder.lock.write_bytes(msgspec.json.encode(elsewhere()))
    Lock(folder).release()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no locks."""

    def refuse(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "BEAT", 0.1)


@pytest.mark.usefixtures("no_locks")
def test_where_the_file_system_knows_no_locks_a_living_process_is_known_by_its_start(folder: RunFolder):
    living = hold(folder)
    assert is_locked(folder)
    with pytest.raises(InputError, match=f"by process {living.pid}"):
        Lock(folder)
    living.kill()
    living.wait()
    assert not is_locked(folder)
    reused = this_process()
    reused.started = "1"
    folder.lock.write_bytes(msgspec.json.encode(reused))
    assert not is_locked(folder)
    Lock(folder).release()


def test_a_clock_that_jumps_changes_nobodys_identity(monkeypatch: pytest.MonkeyPatch):
    before = this_process()
    monkeypatch.setattr("time.time", lambda: 0.0)
    after = this_process()
    assert (before.started, before.boot) == (after.started, after.boot)


def test_a_lock_that_was_deleted_is_made_anew(folder: RunFolder):
    held = Lock(folder)
    held.release()
    folder.lock.unlink()
    Lock(folder).release()
