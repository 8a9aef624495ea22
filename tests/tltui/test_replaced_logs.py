"""A copy of a run, brought up to date again and again, is followed without the app."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder, create
from engine.runs.lock import Lock
from tests.tltui.test_command_line import CommandLine
from tltui.cli.progress_text import PlainProgress
from tltui.runs import launch


def replace(path: Path, content: bytes) -> None:
    """As rsync does."""
    new = path.with_name(".new")
    new.write_bytes(content)
    os.replace(new, path)


def lines(messages: list[str], *, ends: bool = False, begins: float = 100.0) -> list[bytes]:
    events: list[p.AnyEvent] = [p.Warning(code="x", message=text) for text in messages]
    events += [p.RunFinished(status="completed", reason="", seconds=1.0, exit_code=0)] if ends else []
    for seq, event in enumerate(events, 1):
        event.seq, event.time = seq, begins + seq
    return [commands.encode(event) for event in events]


@pytest.fixture
def folder(tmp_path: Path, config: Callable[..., RunConfig]) -> RunFolder:
    return create(tmp_path / "copies", config())


def followed(folder: RunFolder, copies: list[list[bytes]]) -> list[p.AnyEvent]:
    """What following a run gives, which has each of ``copies`` as its log in turn."""
    given: list[p.AnyEvent] = []
    coming: Iterator[p.AnyEvent | None] = launch.follow(folder)
    for copy in copies:
        replace(folder.events, b"".join(copy))
        while (event := next(coming, None)) is not None:
            given.append(event)
    return given


def test_each_event_of_a_growing_copy_comes_once(folder: RunFolder):
    words = [f"event {number}" for number in range(5)]
    whole = lines(words, ends=True)
    given = followed(folder, [whole[:1], whole[:3], whole[:3], whole[:2], whole[:4], [], whole])
    assert [event.seq for event in given] == [1, 2, 3, 4, 5, 6]


def test_of_another_log_come_the_events_that_are_others(folder: RunFolder):
    first, other = lines(["a", "b", "c"]), lines(["d", "e"], ends=True, begins=900.0)
    mixed = first[:2] + lines(["d", "e", "f"], begins=900.0)[2:]
    given = followed(folder, [first, mixed, other])
    assert [(event.seq, event.time) for event in given] == [
        *((1, 101), (2, 102), (3, 103)),
        *((3, 903),),
        *((1, 901), (2, 902), (3, 903)),
    ]


def test_plain_text_counts_the_epochs_of_the_log_that_is_there(folder: RunFolder):
    out = io.StringIO()
    view = PlainProgress(Console(file=out, width=200), folder)
    for copy in (lines(["a", "b"]), lines(["c"], begins=900.0)):
        replace(folder.events, b"".join(copy))
        for line in copy:
            view.show(p.decode_event(line))
    assert [out.getvalue().count(word) for word in ("a\n", "b\n", "c\n")] == [1, 1, 1]


@pytest.mark.parametrize("option", ["--json", "--headless"])
def test_attach_to_a_copy_that_is_brought_up_to_date_tells_everything_once(
    option: str, tltui: CommandLine, folder: RunFolder
):
    lock = Lock(folder)
    source = create(folder.path.parent.parent / "source", folder.load_config())
    log = EventLog(source)
    attached = tltui.start("attach", str(folder.path), option)
    for number in range(4):
        log.write(p.Warning(code="x", message=f"warning {number}."))
        replace(folder.events, source.events.read_bytes())
        wait_until_read(folder, attached, number)
    log.write(p.RunFinished(status="completed", reason="", seconds=1.0, exit_code=0))
    lock.release()
    replace(folder.events, source.events.read_bytes())
    output, errors = attached.communicate(timeout=60)
    assert attached.returncode == 0, errors
    assert [output.count(f"warning {number}.") for number in range(4)] == [1, 1, 1, 1]
    if option == "--json":
        assert [json.loads(line)["seq"] for line in output.splitlines()] == [1, 2, 3, 4, 5]


def wait_until_read(folder: RunFolder, process: subprocess.Popen[str], number: int) -> None:
    """Until the process has the copy open that is there now, so that the next one takes its place."""
    wanted = folder.events.stat().st_ino
    for _ in count():
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if link.stat().st_ino == wanted:
                    return
            except OSError:
                continue
        assert process.poll() is None, f"it ended at event {number}"
        time.sleep(0.02)
