import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.files.atomic import write_atomically
from engine.runs.command_log import CommandTail, new_command_id, send
from engine.runs.commands import Pause, encode
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import Warning
from engine.runs.folder import RunFolder, create
from engine.runs.lock import Lock, is_locked


@pytest.fixture
def folder(tmp_path: Path, config: Callable[..., RunConfig]) -> RunFolder:
    return create(tmp_path / "runs", config())


def test_a_run_is_a_private_folder_with_its_config(folder: RunFolder, config: Callable[..., RunConfig]):
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.config.stat().st_mode) == 0o600
    assert folder.load_config() == config()


def test_names_of_data_never_leave_the_runs_folder(tmp_path: Path, config: Callable[..., RunConfig]):
    evil = config(data={"path": "/tmp/../[red]\x1b[31m; rm -rf ~"}, model={"name": "../../etc"})
    run = create(tmp_path / "runs", evil)
    assert run.path.parent == tmp_path / "runs"
    assert set(run.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_runs_folder_that_can_not_be_made_is_one_sentence(tmp_path: Path, config: Callable[..., RunConfig]):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--runs-dir"):
        create(tmp_path / "file" / "runs", config())


def test_events_are_numbered_without_a_gap(folder: RunFolder):
    log = EventLog(folder)
    for number in range(50):
        log.write(Warning(code="x", message=str(number)))
    events = list(EventTail(folder).poll())
    assert [event.seq for event in events] == list(range(1, 51))


def test_a_torn_line_waits_until_it_is_whole_and_garbage_is_passed_over(folder: RunFolder):
    line = encode(Warning(code="x", message="é" * 100, seq=1))
    tail = EventTail(folder)
    with folder.events.open("ab", buffering=0) as file:
        for byte in line[:-1]:
            file.write(bytes([byte]))
            assert list(tail.poll()) == []
        file.write(b"\nno json\n\xff\xfe\n" + line)
    assert [event.seq for event in tail.poll()] == [1, 1]
    assert tail.broken == 2


def test_steps_can_be_passed_over(folder: RunFolder):
    from tests.engine.test_protocol import STEP

    log = EventLog(folder)
    log.write(STEP)
    log.write(Warning(code="x", message="y"))
    assert [type(event) for event in EventTail(folder, steps=False).poll()] == [Warning]


def test_commands_of_many_senders_all_arrive_whole(folder: RunFolder):
    code = (
        "import sys; from pathlib import Path; from engine.runs.folder import *\n"
        "from engine.runs.command_log import *; from engine.runs.commands import Set\n"
        "for n in range(100): send(RunFolder(Path(sys.argv[1])), Set(id=new_command_id(), key='k' * 300, value=n))"
    )
    senders = [subprocess.Popen([sys.executable, "-c", code, str(folder.path)]) for _ in range(4)]
    assert [sender.wait() for sender in senders] == [0] * 4
    commands = list(CommandTail(folder).poll())
    assert len(commands) == 400
    assert len({command.id for command in commands if not isinstance(command, str)}) == 400


def test_a_line_that_is_no_command_comes_as_text(folder: RunFolder):
    folder.commands.write_bytes(b'{"type":"explode"}\n')
    send(folder, Pause(id=new_command_id()))
    first, second = CommandTail(folder).poll()
    assert first == '{"type":"explode"}'
    assert isinstance(second, Pause)


def test_the_lock_belongs_to_one_process_and_ends_with_it(folder: RunFolder):
    code = (
        "import sys; from pathlib import Path; from engine.runs.lock import *\n"
        "lock = Lock(RunFolder(Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read()"
    )
    assert not is_locked(folder)
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert is_locked(folder)
    with pytest.raises(InputError, match=f"process {holder.pid}"):
        Lock(folder)
    holder.kill()
    holder.wait()
    assert not is_locked(folder)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "file"
    write_atomically(target, b"old")
    with pytest.raises(TypeError):
        write_atomically(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_commands_that_others_could_have_written_are_not_taken(folder: RunFolder):
    send(folder, Pause(id="a"))
    folder.commands.chmod(0o666)
    tail = CommandTail(folder)
    assert list(tail.poll()) == []
    assert "can be written by others" in tail.refused
    folder.commands.chmod(0o600)
    assert [command.id for command in tail.poll() if isinstance(command, Pause)] == ["a"]
    assert not tail.refused


def test_a_link_in_place_of_the_commands_is_neither_read_nor_written(folder: RunFolder, tmp_path: Path):
    (tmp_path / "elsewhere").write_text("")
    folder.commands.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no command can be written"):
        send(folder, Pause(id="a"))
    tail = CommandTail(folder)
    assert list(tail.poll()) == []
    assert "not a regular file" in tail.refused
    assert (tmp_path / "elsewhere").read_text() == ""


@pytest.mark.parametrize("mask", [0o000, 0o277, 0o777])
def test_a_runs_folder_is_private_whatever_the_umask(mask: int, tmp_path: Path, config: Callable[..., RunConfig]):
    (tmp_path / "runs").mkdir(mode=0o777)
    before = os.umask(mask)
    try:
        made = create(tmp_path / "runs", config())
    finally:
        os.umask(before)
    assert made.path.stat().st_mode & 0o777 == 0o700
