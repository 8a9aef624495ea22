"""Whatever stands in a file, its reader gives what is sound in it and nothing else."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.schema import RunConfig, is_live
from engine.config.schema import settings as all_settings
from engine.config.toml_io import from_tables, load, to_toml
from engine.errors import InputError
from engine.runs import commands
from engine.runs import events as p
from engine.runs.event_log import EventLog, EventTail
from engine.runs.folder import RunFolder
from engine.runs.replay import ReplayedLog
from engine.runs.state import fold_all

NAMES = st.text(max_size=12)
COUNTS = st.integers(0, 2**40)
REALS = st.floats(allow_nan=False, allow_infinity=False)
SETS = st.builds(commands.Set, id=NAMES, key=NAMES, value=st.one_of(REALS, NAMES, st.lists(NAMES, max_size=3)))
COMMANDS = st.one_of(
    SETS,
    *(st.builds(kind, id=NAMES) for kind in (commands.Pause, commands.Resume, commands.Stop, commands.SaveCheckpoint)),
)
PARAMETERS = st.builds(p.ParameterCounts, total=COUNTS, trainable=COUNTS, frozen=COUNTS)
EVENTS = st.one_of(
    st.builds(p.Step, step=COUNTS, epoch=COUNTS, loss=st.none() | REALS, lr=st.dictionaries(NAMES, REALS, max_size=2),
              grad_norm=st.none() | REALS, images_per_second=REALS),
    st.builds(p.Warning, code=NAMES, message=NAMES),
    st.builds(p.Progress, activity=st.sampled_from(["data", "evaluate"]), done=COUNTS, total=COUNTS, unit=NAMES),
    st.builds(p.CommandApplied, command=COMMANDS, step=COUNTS, parameters=st.none() | PARAMETERS),
    st.builds(p.CommandRejected, command=COMMANDS | NAMES, reason=NAMES, step=COUNTS),
    st.builds(p.Checkpoint, path=NAMES, epoch=COUNTS, step=COUNTS, best=st.booleans()),
    st.builds(p.Resumed, step=COUNTS, epoch=COUNTS, checkpoint=st.none() | NAMES, told=COUNTS),
    st.builds(p.Boundary, boundary=st.none() | NAMES, cached=COUNTS),
    st.builds(p.Baseline, name=NAMES, split=NAMES, accuracy=REALS),
    st.builds(p.RunFinished, status=st.sampled_from(["completed", "stopped", "failed"]), reason=NAMES, seconds=REALS,
              exit_code=st.sampled_from([0, 1, 2, 130])),
)  # fmt: skip
LOGS = st.lists(EVENTS, max_size=12).map(
    lambda events: [msgspec.structs.replace(event, seq=n) for n, event in enumerate(events, 1)]
)
GARBAGE = (
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"") or b"?").filter(lambda line: line[:1] != b"{")
)


def read(path: Path, content: bytes) -> tuple[list[p.AnyEvent], int]:
    (path / "events.jsonl").write_bytes(content)
    tail = EventTail(RunFolder(path))
    return list(tail.poll()), tail.broken


@given(LOGS)
def test_an_event_comes_back_from_its_line_as_it_was(events: list[p.AnyEvent]):
    assert [p.decode_event(commands.encode(event)) for event in events] == events


@given(LOGS, st.data())
def test_a_fold_can_be_interrupted_anywhere(events: list[p.AnyEvent], data: st.DataObject):
    cut = data.draw(st.integers(0, len(events)))
    assert fold_all(events[cut:], fold_all(events[:cut])) == fold_all(events)


@given(LOGS)
def test_a_replayed_log_contains_all_steps_that_are_in_it(events: list[p.AnyEvent]):
    for at, event in enumerate(events, 1):
        if isinstance(event, p.Step):
            assert ReplayedLog.of(events[:at]).contains(event)


@given(log=LOGS, data=st.data())
def test_any_truncation_gives_the_events_before_it_and_the_log_continues(
    tmp_path_factory: Any,  # noqa: ANN401
    log: list[p.AnyEvent],
    data: st.DataObject,
):
    path = tmp_path_factory.mktemp("run")
    lines = [commands.encode(event) for event in log]
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    whole = content[:cut].count(b"\n")
    assert read(path, content[:cut]) == (log[:whole], 0)
    EventLog(RunFolder(path)).write(p.Warning(code="x", message="goes on"))
    events = list(EventTail(RunFolder(path)).poll())
    assert events[:-1] == log[:whole]
    assert [event.seq for event in events] == list(range(1, whole + 2))


@given(log=LOGS, garbage=st.lists(st.tuples(st.integers(0, 12), GARBAGE), max_size=5), torn=st.binary(max_size=20))
def test_garbage_is_counted_and_passed_over(
    tmp_path_factory: Any,  # noqa: ANN401
    log: list[p.AnyEvent],
    garbage: list[tuple[int, bytes]],
    torn: bytes,
):
    path = tmp_path_factory.mktemp("run")
    lines = [commands.encode(event) for event in log]
    for at, line in garbage:
        lines.insert(at, line + b"\n")
    content = b"".join(lines)
    assert read(path, content) == (log, len(garbage))
    (path / "events.jsonl").write_bytes(content + torn.replace(b"\n", b""))
    EventLog(RunFolder(path)).write(p.Warning(code="x", message="goes on"))
    assert [event.seq for event in EventTail(RunFolder(path)).poll()] == list(range(1, len(log) + 2))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from([key for key, _ in all_settings()])


@given(st.dictionaries(KEYS | st.text(max_size=10), JSON, max_size=4))
def test_a_config_is_refused_or_comes_back_from_its_file_as_it_was(values: dict[str, Any]):
    tables: dict[str, Any] = {"data": {"source": "digits"}}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if isinstance(tables.setdefault(section, {}), dict):
            tables[section][name] = value
    with suppress(InputError):
        config = from_tables(tables)
        assert from_tables(tomllib.loads(to_toml(config))) == config


@settings(max_examples=50)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_file_is_a_config_or_refused(tmp_path_factory: Any, content: bytes):  # noqa: ANN401
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_bytes(content)
    with suppress(InputError):
        assert isinstance(load(path), RunConfig)


def test_what_is_live_is_a_setting():
    assert any(is_live(key) for key, _ in all_settings())
