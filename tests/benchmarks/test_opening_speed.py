"""What opening a long run costs the keys: the longest time in which the app's loop does nothing but read.

``pytest tests/benchmarks/test_opening_speed.py -s`` prints it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import count, pairwise
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.runs import commands
from engine.runs import events as p
from engine.runs.folder import RunFolder, create
from tests.ui.folded_runs import beginning
from tests.ui.networks import as_json, resnet18
from tltui.app.app import TltuiApp
from tltui.runs.run_follower import BATCH, RunFollower
from tltui.screens import workbench  # noqa: F401 (not to be imported while the app is opened)
from tltui.widgets.progress_line import ProgressLine

STEPS = 500_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = RunConfig.model_validate({"data": {"source": "digits"}, "model": {"name": "resnet18"}})
    made = create(tmp_path_factory.mktemp("long") / "runs", config)
    made.model.write_bytes(as_json(resnet18()))
    number = count(1)
    with made.events.open("wb") as file:
        for event in beginning(100, STEPS // 100):
            event.seq = next(number)
            file.write(commands.encode(event))
        step = p.Step(
            step=1, epoch=1, loss=0.5, lr={"head": 1e-3, "backbone": 1e-4}, grad_norm=1.0, images_per_second=4
        )
        for at in range(1, STEPS + 1):
            step.step, step.epoch, step.loss, step.seq = at, 1 + at * 100 // (STEPS + 1), 1 / at, next(number)
            file.write(commands.encode(step))
        file.write(
            commands.encode(p.RunFinished(status="completed", reason="", seconds=1.0, exit_code=0, seq=next(number)))
        )
    return made


async def opened(app: TltuiApp) -> tuple[list[float], list[float], set[str]]:
    """Of opening the run: the seconds of the loop's own thread between its ticks; those while it says that it reads;
    and what it says then."""
    gaps: list[float] = []
    while_reading: list[float] = []
    said: set[str] = set()

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.002)
            gaps.append(time.thread_time() - before)
            words = [line.words for line in app.screen.query(ProgressLine)] if app.screen_stack else []
            if words and words[0].startswith("reading"):
                while_reading.append(gaps[-1])
                said.add(words[0])

    ticking = asyncio.create_task(tick())
    async with app.run_test(size=(120, 40)):
        while "completed" not in text_of(app):
            await asyncio.sleep(0.1)
    ticking.cancel()
    return gaps, while_reading, said


def text_of(app: TltuiApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_while_half_a_million_steps_are_read_the_loop_goes_round_and_says_so(folder: RunFolder, tmp_path: Path):
    began = time.thread_time()
    RunFollower(folder).poll()
    at_once = time.thread_time() - began
    app = TltuiApp(folder.path.parent, open_run=folder, config_dir=tmp_path)
    gaps, while_reading, said = asyncio.run(opened(app))
    print(  # noqa: T201
        f"{STEPS:,} steps are read in {at_once:.2f} s; opening them the loop was busy for {max(gaps):.3f} s at most, "
        f"in 19 of 20 of its {len(while_reading)} ticks while it read for less than "
        f"{statistics.quantiles(while_reading or [0, 0], n=20)[-1]:.3f} s"
    )
    assert len([words for words in said if words.endswith("events")]) > 5
    assert len(while_reading) > 50
    # The rest are the first drawings of the screen, which take as long for a short run.
    assert statistics.quantiles(while_reading, n=20)[-1] < at_once / 10


def test_a_part_of_a_log_is_small_however_long_the_log_is(folder: RunFolder):
    following = RunFollower(folder)
    parts = [following.state.seq]
    while following.has_backlog or not following.state.seq:
        following.poll_batch()
        parts.append(following.state.seq)
    assert following.status == "completed"
    assert len(following.state.steps) == STEPS
    assert max(after - before for before, after in pairwise(parts)) <= BATCH < STEPS / 100
