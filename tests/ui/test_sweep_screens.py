"""Sweeps in the app: filled in, watched, gone on with, with the real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from app_runs import answering, app_on, digits, notices, text_of, until
from textual.pilot import Pilot
from textual.widgets import TextArea

from engine.config.schema import RunConfig
from tests.conftest import kill_workers
from tltui.app.app import TltuiApp
from tltui.screens.sweep import SweepScreen
from tltui.screens.sweep_form import SweepForm
from tltui.screens.workbench import Workbench
from tltui.widgets.config_form import ConfigForm

Test = Callable[[TltuiApp, Pilot[int]], Awaitable[None]]
PATIENCE = 200  # seconds, for a machine that does much else


@pytest.fixture(autouse=True)
def no_engine_left(tmp_path: Path) -> Iterator[None]:
    """Whatever still trains after a test that failed is killed."""
    yield
    kill_workers(tmp_path / "runs")


def drive(tmp_path: Path, draft: RunConfig | None, size: tuple[int, int], test: Test) -> None:
    async def main() -> None:
        app = app_on(tmp_path, draft=draft, queries=answering())
        async with app.run_test(size=size) as pilot:
            await test(app, pilot)

    asyncio.run(main())


async def fill_in(app: TltuiApp, pilot: Pilot[int], space: str) -> None:
    """Open the form and write what varies."""
    await until(pilot, lambda: isinstance(app.screen, Workbench))
    await pilot.press("v")
    await until(pilot, lambda: isinstance(app.screen, SweepForm))
    app.screen.query_one(TextArea).text = space
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_ready_made_sweep_is_there_to_be_changed_and_what_is_wrong_is_said(size: tuple[int, int], tmp_path: Path):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        await pilot.press("v")
        await until(pilot, lambda: "30 trials, each a run" in text_of(app))
        await pilot.press("right", "right")
        await until(pilot, lambda: "5 trials, each a run" in text_of(app))
        assert all(words in text_of(app) for words in ("‹epochs›", "‹grid›", '"train.epochs" = [3, 5, 10, 20, 40]'))
        app.screen.query_one(TextArea).text = '"train.epoch" = [1]'
        await until(pilot, lambda: '"train.epoch" is not a setting' in text_of(app))
        assert "‹own›" in text_of(app)
        await pilot.press("f9")
        app.screen.query_one(TextArea).text = '"train.epochs" = [1, 2'
        await until(pilot, lambda: "what varies can't be read" in text_of(app))
        await pilot.press("f9")
        assert isinstance(app.screen, SweepForm)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert not (tmp_path / "runs" / "sweeps").exists()

    drive(tmp_path, digits(), size, test)


def test_a_sweep_begun_in_the_app_is_watched_to_its_end_and_its_best_settings_are_taken(
    tmp_path: Path, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await fill_in(app, pilot, '"optimizer.lr" = [0.01, 1e-7]')
        await pilot.press("down", "left", "left")  # the sampler: a grid
        await until(pilot, lambda: "2 trials, each a run" in text_of(app))
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, SweepScreen))
        await until(pilot, lambda: "2 of 2 trials: 2 completed" in text_of(app), PATIENCE)
        shown = text_of(app)
        assert " left" not in shown.splitlines()[0]
        assert "s stop" not in shown
        assert all(words in shown for words in ("best: trial", "optimizer.lr=0.01", "1 trial", "lr"))
        best = next(line for line in shown.splitlines() if "completed" in line and "0.01" in line)
        await pilot.press("up", "up", "enter")  # the cursor stays on its trial where the best one moves up
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert isinstance(app.screen, Workbench)
        assert app.screen.following is not None
        assert app.screen.following.folder.id.startswith(best.split()[-1])
        await pilot.press("v")  # only a draft can be varied
        assert isinstance(app.screen, Workbench)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, SweepScreen))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, Workbench) and app.screen.following is None)
        assert isinstance(app.screen, Workbench)
        assert app.screen.query_one(ConfigForm).draft["optimizer.lr"] == 0.01

    drive(tmp_path, config(train={"epochs": 1}), (80, 24), test)


@pytest.mark.slow
def test_a_sweep_is_stopped_found_again_by_another_app_and_resumed(
    tmp_path: Path, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    async def stop_it(app: TltuiApp, pilot: Pilot[int]) -> None:
        await fill_in(app, pilot, '"optimizer.lr" = [0.01]')
        await pilot.press("down", "left", "left", "f9")
        await until(pilot, lambda: "1 running" in text_of(app), PATIENCE)
        await pilot.press("s")
        await until(pilot, lambda: "Stop the sweep?" in text_of(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "1 stopped" in text_of(app), PATIENCE)

    async def go_on(app: TltuiApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "1 run" in text_of(app))
        await pilot.press("v")
        await until(pilot, lambda: "0 of 1 trials ended" in text_of(app), PATIENCE)
        await pilot.press("enter")
        await until(pilot, lambda: "r resume" in text_of(app), PATIENCE)
        await pilot.press("r")
        await until(pilot, lambda: "1 running" in text_of(app), PATIENCE)
        await pilot.press("s")
        await until(pilot, lambda: "Stop the sweep?" in text_of(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "1 stopped" in text_of(app), PATIENCE)

    drive(tmp_path, config(train={"epochs": 100_000}), (80, 24), stop_it)
    drive(tmp_path, None, (120, 40), go_on)


def test_without_sweeps_it_is_said_how_one_begins(tmp_path: Path):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "no runs yet" in text_of(app))
        await pilot.press("v")
        await until(pilot, lambda: "v in a draft" in notices(app), PATIENCE)

    drive(tmp_path, None, (80, 24), test)
