"""Runs that wait, and what becomes of one that can't be started when its turn comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from app_runs import ScriptedEngine, app_on, digits, text_of, until
from test_app import drive, running
from textual.pilot import Pilot

from engine.errors import InputError
from tltui.app.app import TltuiApp
from tltui.runs.queue import RunQueue
from tltui.screens.home import Home


def started(queue: RunQueue) -> Path | None:
    """The folder of the run that the queue starts, as soon as the process before it is gone."""
    while (folder := queue.start_next(others_train=False)) is None and any(not one.failed for one in queue.waiting):
        pass
    return folder.path if folder else None


def test_a_run_that_can_not_be_started_keeps_its_place_and_its_reason(tmp_path: Path):
    engine, runs_dir = ScriptedEngine(), tmp_path / "runs"
    queue = RunQueue(runs_dir, engine.start)
    for epochs in (1, 2):
        queue.add(digits(epochs=epochs))
    runs_dir.write_text("a file where runs are to lie")
    for place in (0, 1):
        with pytest.raises(InputError, match="can't hold runs"):
            queue.start_next(others_train=False)
        assert "can't hold runs" in queue.waiting[place].failed
    assert started(queue) is None
    runs_dir.unlink()
    assert started(queue) is None
    queue.retry(1)
    assert started(queue) is not None
    assert engine.started[0].folder.load_config().train.epochs == 2
    assert [one.config.train.epochs for one in queue.waiting] == [1]
    queue.retry(0)
    assert started(queue) is not None
    assert queue.waiting == []


def test_those_behind_it_have_their_turn(tmp_path: Path):
    engine, runs_dir = ScriptedEngine(), tmp_path / "runs"
    queue = RunQueue(runs_dir, engine.start)
    queue.add(digits(epochs=1))
    runs_dir.write_text("")
    with pytest.raises(InputError):
        queue.start_next(others_train=False)
    runs_dir.unlink()
    queue.add(digits(epochs=2))
    assert started(queue) is not None
    assert engine.started[0].folder.load_config().train.epochs == 2
    assert queue.waiting[0].failed


def test_on_a_full_disk_a_start_is_one_sentence_and_leaves_nothing(tmp_path: Path):
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from engine.config.schema import RunConfig; from engine.errors import InputError\n"
        "from tltui.runs.engine_pool import EnginePool\n"
        "from tltui.runs.queue import RunQueue\n"
        "config = RunConfig.model_validate({'data': {'source': 'digits'}})\n"
        "queue = RunQueue(Path(sys.argv[1]), EnginePool().start); queue.add(config)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try: queue.start_next(False)\n"
        "except InputError: sys.exit(len(queue.waiting) != 1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs")], check=False)
    assert done.returncode == 0
    assert list((tmp_path / "runs").iterdir()) == []


def test_where_the_engine_can_not_be_started_the_run_waits_and_no_folder_is_left(tmp_path: Path):
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from engine.config.schema import RunConfig; from engine.errors import InputError\n"
        "from tltui.runs import launch\n"
        "from tltui.runs.queue import RunQueue\n"
        "config = RunConfig.model_validate({'data': {'source': 'digits'}})\n"
        "queue = RunQueue(Path(sys.argv[1]), launch.start); queue.add(config)\n"
        "launch.ENGINE = ('/no/such/program',)\n"
        "try: queue.start_next(False)\n"
        "except InputError as error: sys.exit('no worker can be started' not in queue.waiting[0].failed)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "runs")], check=False)
    assert done.returncode == 0
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_queued_run_that_can_not_be_started_is_shown_with_its_reason_and_started_after_all(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("f2", "y")
        await until(pilot, lambda: "○ draft" in text_of(app))
        await pilot.press("r")
        await until(pilot, lambda: "Queue this run" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: "○ queued" in text_of(app))
        (tmp_path / "runs").rename(tmp_path / "elsewhere")
        (tmp_path / "runs").write_text("no room for runs")
        run.die()
        await until(pilot, lambda: "✗ failed" in text_of(app))
        assert isinstance(app.screen, Home)
        await until(pilot, lambda: "can't hold runs" in "".join(text_of(app).splitlines()[-5:]))
        (tmp_path / "runs").unlink()
        await pilot.press("r")
        await until(pilot, lambda: len(engine.started) == 2)
        await until(pilot, lambda: "✗ failed" not in text_of(app))

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)
