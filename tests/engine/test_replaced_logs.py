"""Logs that are brought up to date from elsewhere: by a file that takes the old one's place, or written over it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.command_log import CommandTail
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder, create

Write = Callable[[Path, bytes], None]


@pytest.fixture
def folder(tmp_path: Path, config: Callable[..., RunConfig]) -> RunFolder:
    return create(tmp_path, config())


def replace(path: Path, content: bytes) -> None:
    """As rsync does."""
    new = path.with_name(".new")
    new.write_bytes(content)
    os.replace(new, path)


def write_over(path: Path, content: bytes) -> None:
    """As rsync --inplace and cp do."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate()


def lines(*messages: str, first: int = 1) -> bytes:
    numbered = enumerate(messages, first)
    return b"".join(
        commands.encode(p.Warning(code="x", message=text, seq=seq, time=100.0 + seq)) for seq, text in numbered
    )


def told(tail: EventTail) -> list[str]:
    return [event.message for event in tail.poll() if isinstance(event, p.Warning)]


@pytest.mark.parametrize("write", [replace, write_over])
def test_a_copy_that_grows_gives_each_event_once(write: Write, folder: RunFolder):
    words = [f"event {number}" for number in range(50)]
    tail = EventTail(folder)
    assert told(tail) == []
    for count in range(1, 51):
        write(folder.events, lines(*words[:count]))
        assert told(tail) == words[count - 1 : count]
        assert told(tail) == []
    assert tail.beginnings == 0


@pytest.mark.parametrize("write", [replace, write_over])
@pytest.mark.parametrize(
    "other",
    [("b", "b", "b"), ("b", "b", "b", "d", "e", "f"), ("b",), ("a",), ("a", "c", "b"), ("a much longer text",), ()],
    ids=["same size", "longer", "shorter", "cut", "changed", "one", "empty"],
)
def test_another_log_comes_from_its_first_event(other: tuple[str, ...], write: Write, folder: RunFolder):
    tail = EventTail(folder)
    write(folder.events, lines("a", "b", "c"))
    assert told(tail) == ["a", "b", "c"]
    write(folder.events, lines(*other))
    assert told(tail) == list(other)
    assert tail.beginnings == 1
    with folder.events.open("ab") as file:
        file.write(lines("z", first=len(other) + 1))
    assert told(tail) == ["z"]


def test_a_change_far_from_the_end_is_noticed_where_a_file_took_the_place(folder: RunFolder):
    tail, words = EventTail(folder), [f"{number:05}" for number in range(20_000)]
    replace(folder.events, lines(*words))
    assert told(tail) == words
    words[7] = "other"
    replace(folder.events, lines(*words))
    assert told(tail) == words


def test_a_torn_copy_waits_for_the_rest(folder: RunFolder):
    tail, whole = EventTail(folder), lines("a", "b", "c")
    for end in range(0, len(whole), 7):
        replace(folder.events, whole[:end])
        tail_told = told(tail)
        assert len(tail_told) <= 1
    replace(folder.events, whole)
    assert told(tail) in ([], ["c"])
    assert tail.beginnings == 0


def test_a_log_that_is_gone_for_a_while_stays_as_it_was(folder: RunFolder):
    tail = EventTail(folder)
    replace(folder.events, lines("a"))
    assert told(tail) == ["a"]
    folder.events.unlink()
    assert told(tail) == []
    folder.events.symlink_to("/etc/passwd")
    assert told(tail) == []
    folder.events.unlink()
    replace(folder.events, lines("a", "b"))
    assert told(tail) == ["b"]


def test_a_log_that_is_replaced_while_it_is_read_comes_from_its_first_event(folder: RunFolder):
    tail = EventTail(folder)
    replace(folder.events, lines("a", "b", "c"))
    next(tail.poll())
    replace(folder.events, lines("d", "e"))
    assert told(tail) == ["d", "e"]


@pytest.mark.parametrize("write", [replace, write_over])
def test_no_command_is_obeyed_twice(write: Write, folder: RunFolder):
    tail = CommandTail(folder)
    pause, stop, again = (
        commands.encode(command) for command in (commands.Pause(id="a"), commands.Stop(id="b"), commands.Resume(id="c"))
    )

    def given() -> list[str]:
        return [command if isinstance(command, str) else command.id for command in tail.poll()]

    def put(content: bytes) -> None:
        write(folder.commands, content)
        folder.commands.chmod(0o600)

    put(pause + b"garbage\n")
    assert given() == ["a", "garbage"]
    put(pause + b"garbage\n" + stop)
    assert given() == ["b"]
    put(stop + again)
    assert given() == ["c"]
    put(pause + b"garbage\ngarbage\n" + stop + again)
    assert given() == ["garbage"]
