"""Engines that wait for a run, as the processes that they are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.config.schema import RunConfig
from engine.runs.event_log import EventTail
from engine.runs.events import RunStarted
from tltui.runs.engine_pool import EnginePool

Config = Callable[..., RunConfig]
ENGINE = Path(__file__).parent.parent.parent / "engine"
APP = (
    "from tltui.runs.engine_pool import EnginePool; engines = EnginePool(); engines.prewarm(); "
    "print('ready', flush=True); input()"
)


def waiting(process: int) -> list[psutil.Process]:
    """The warm engines that a process has."""
    try:
        children = psutil.Process(process).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "--warm" in child.cmdline()]


@pytest.fixture
def engines() -> Iterator[EnginePool]:
    made = EnginePool()
    yield made
    made.release()


def test_a_run_trains_in_the_engine_that_waits_as_in_any_other(engines: EnginePool, tmp_path: Path, config: Config):
    engines.prewarm()
    (warm,) = waiting(os.getpid())
    folder, process = engines.start(tmp_path / "runs", config())
    assert process.pid == warm.pid
    tail, events = EventTail(folder), []
    while not events:
        assert process.poll() is None
        events = list(tail.poll())
        time.sleep(0.01)
    started = events[0]
    assert isinstance(started, RunStarted)
    assert started.process_id == process.pid
    assert warm.nice() == 10
    autogroup = Path(f"/proc/{process.pid}/autogroup")
    assert not autogroup.exists() or autogroup.read_text().endswith(" nice 10\n")
    assert os.getsid(process.pid) == process.pid
    opened = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
    assert opened == [os.devnull, str(folder.log), str(folder.log)]
    assert process.wait(120) == 0
    assert waiting(os.getpid()) == []


def test_an_engine_that_waits_goes_when_the_app_is_killed():
    app = subprocess.Popen([sys.executable, "-c", APP], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert app.stdout is not None
    app.stdout.readline()
    (warm,) = waiting(app.pid)
    app.kill()
    app.wait()
    assert psutil.wait_procs([warm], timeout=120)[1] == []


def test_an_engine_that_waits_is_let_go_when_no_run_is_wanted(engines: EnginePool):
    engines.prewarm()
    engines.prewarm()
    (warm,) = waiting(os.getpid())
    engines.release()
    assert psutil.wait_procs([warm], timeout=120)[1] == []


def test_an_engine_that_died_waiting_is_not_used(engines: EnginePool, tmp_path: Path, config: Config):
    engines.prewarm()
    (warm,) = waiting(os.getpid())
    warm.kill()
    psutil.wait_procs([warm], timeout=10)
    _, process = engines.start(tmp_path / "runs", config())
    assert process.pid != warm.pid
    assert process.args[-1] != "--warm"  # type: ignore[index]
    process.kill()
    process.wait()


def test_an_engine_of_other_code_is_not_used(engines: EnginePool, tmp_path: Path, config: Config):
    engines.prewarm()
    (warm,) = waiting(os.getpid())
    source = ENGINE / "__init__.py"
    was = source.stat()
    os.utime(source)
    try:
        _, process = engines.start(tmp_path / "runs", config())
    finally:
        os.utime(source, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert process.pid != warm.pid
    process.kill()
    process.wait()
    assert psutil.wait_procs([warm], timeout=120)[1] == []
