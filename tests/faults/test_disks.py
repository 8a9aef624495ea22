"""Disks that are full, read-only or gone: training goes on where it can, and nothing good is destroyed."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import Warning
from engine.runs.folder import RunFolder, create
from engine.training.session import Session
from engine.training.step import StepResult
from tests.faults.kills import uninterrupted
from tests.faults.lives import Life
from tests.faults.short_run import log_problems, short_config
from tests.faults.writes import fail_at_writes
from tltui.runs.launch import resume


@pytest.mark.slow
def test_a_write_that_fails_costs_neither_the_run_nor_what_was_written_before(tmp_path: Path):
    report = fail_at_writes(tmp_path, most=3, seed=0)
    assert report.problems == []


def test_events_wait_in_memory_while_the_disk_is_full(tmp_path: Path, config: Callable[..., RunConfig]):
    folder = create(tmp_path / "runs", config())
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from engine.runs.events import Warning; from engine.runs.event_log import EventLog\n"
        "from engine.runs.folder import RunFolder\n"
        "log = EventLog(RunFolder(Path(sys.argv[1])))\n"
        "most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "for number in range(300):\n"
        "    if number == 100: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))\n"
        "    if number == 200: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\n"
        "    log.write(Warning(code='x', message=f'{number:0100}'))\n"
        "log.close(0.0)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=True)
    assert log_problems(folder) == []
    events = [event for event in EventTail(folder).poll() if isinstance(event, Warning)]
    assert [int(event.message) for event in events if event.code == "x"] == list(range(300))
    (told,) = [event for event in events if event.code == "log_waits"]
    assert "free disk space" in told.message


def test_a_folder_that_vanishes_does_not_end_the_training(tmp_path: Path):
    folder = create(tmp_path / "runs", short_config(tmp_path))
    life = Life(folder, [], fault=vanish_at_step_7)
    assert life.wait() == 0
    assert not folder.path.exists()


def vanish_at_step_7(folder: RunFolder) -> None:
    from engine.training import loop

    emit_step = loop.emit_step

    def vanish(session: Session, result: StepResult, images_per_second: float) -> None:
        emit_step(session, result, images_per_second)
        if result.step == 7:
            gone = folder.path.rename(folder.path.with_name("gone"))  # at once, whatever is being written in it
            shutil.rmtree(gone, ignore_errors=True)

    loop.emit_step = vanish


def test_a_log_is_continued_after_a_torn_line_and_after_garbage(tmp_path: Path, config: Callable[..., RunConfig]):
    folder = create(tmp_path / "runs", config())
    reader = EventTail(folder)
    EventLog(folder).write(Warning(code="x", message="1"))
    for torn in (b'{"type":"warn', b"\0" * 3000):
        with folder.events.open("ab") as file:
            file.write(torn)
        read = list(reader.poll())
        EventLog(folder).write(Warning(code="x", message="2"))
        read += list(reader.poll())
        assert read[-1].seq == len(list(EventTail(folder).poll()))
    assert log_problems(folder) == []
    with folder.events.open("ab") as file:
        file.write(b"\xff\xfe garbage\n")
    EventLog(folder).write(Warning(code="x", message="3"))
    assert [event.seq for event in EventTail(folder).poll()] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["last", "best"])
def test_links_that_name_nothing_are_no_checkpoint(name: str, tmp_path: Path):
    from engine.training.checkpoints import newest_intact

    (tmp_path / name).symlink_to("/etc")
    assert newest_intact(tmp_path, pytest.fail) is None


def test_a_best_checkpoint_that_only_last_could_name_is_the_best_of_the_resumed_run(tmp_path: Path):
    from engine.training.checkpoints import BEST, newest_intact, set_link

    folder, _ = uninterrupted(tmp_path)
    best = (folder.checkpoints / BEST).resolve()
    others = [path.name for path in folder.checkpoints.glob("step-*") if path != best]
    assert (folder.checkpoints / "last").resolve() == best
    set_link(folder.checkpoints, BEST, others[0])  # as it is where the machine dies between the two links
    assert newest_intact(folder.checkpoints, pytest.fail) == best
    assert (folder.checkpoints / BEST).resolve() == best


@pytest.mark.parametrize("name", ["engine.log", "checkpoints", "evaluation", "tensorboard", "checkpoints/best"])
def test_a_run_that_would_write_through_a_link_does_not_go_on(
    name: str, tmp_path: Path, config: Callable[..., RunConfig]
):
    folder = create(tmp_path / "runs", config())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = folder.path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere / "file" if name == "engine.log" else elsewhere)
    with pytest.raises(InputError, match="is a link and may lead anywhere"):
        resume(folder)
    engine = subprocess.run(
        [sys.executable, "-m", "engine.process.worker", str(folder.path)], capture_output=True, text=True, check=False
    )
    assert engine.returncode == 2
    assert "is a link and may lead anywhere" in engine.stderr
    assert list(elsewhere.iterdir()) == []
