"""Cross-validation in the app: started from a draft, shown while it trains and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_runs import answering, app_on, text_of, until

from engine.config.schema import RunConfig
from tests.conftest import kill_workers
from tltui.screens.folds import FoldsScreen
from tltui.screens.home import Home
from tltui.screens.workbench import Workbench

PATIENCE = 200  # seconds, for a machine that does much else


@pytest.fixture(autouse=True)
def no_worker_left(tmp_path: Path) -> Iterator[None]:
    """Whatever still trains after a test that failed is killed."""
    yield
    kill_workers(tmp_path / "runs")


def test_folds_are_trained_from_a_draft_and_found_again_in_the_list_of_runs(
    tmp_path: Path, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    draft = config(data={"folds": 2}, train={"epochs": 1})

    async def main() -> None:
        app = app_on(tmp_path, draft=draft, queries=answering())
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            await pilot.press("x")
            await until(pilot, lambda: "Train 2 folds?" in text_of(app))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, FoldsScreen))
            await until(pilot, lambda: "2 folds: 2 completed" in text_of(app), PATIENCE)
            await until(pilot, lambda: "test accuracy" in text_of(app))
            assert "mean over 2 folds" in text_of(app)
            await pilot.press("down", "enter")
            await until(pilot, lambda: isinstance(app.screen, Workbench) and app.screen.following is not None)
            await pilot.press("d")
            await until(pilot, lambda: isinstance(app.screen, FoldsScreen))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            await pilot.press("d")
            await until(pilot, lambda: isinstance(app.screen, Home) and "2/2 folds" in text_of(app))
            await pilot.press("enter")
            await until(pilot, lambda: "2 folds: 2 completed" in text_of(app))

    asyncio.run(main())
