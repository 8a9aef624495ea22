"""The learning-rate range test in the app, with the real process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import answering, app_on, text_of, until
from textual.pilot import Pilot

from engine.config import RunConfig
from tltui.app import TltuiApp
from tltui.screens.workbench import Workbench

Test = Callable[[TltuiApp, Pilot[int]], Awaitable[None]]


def drive(tmp_path: Path, draft: RunConfig, size: tuple[int, int], test: Test) -> None:
    async def main() -> None:
        app = app_on(tmp_path, draft=draft, queries=answering())
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            await test(app, pilot)

    asyncio.run(main())


def setting(app: TltuiApp, key: str) -> object:
    assert isinstance(app.screen, Workbench)
    return app.screen._setup.form.draft[key]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_test_shows_its_curve_and_one_key_takes_what_it_suggests(
    size: tuple[int, int], tmp_path: Path, config: Callable[..., RunConfig]
):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        before = setting(app, "optimizer.lr")
        await pilot.press("l")
        await until(pilot, lambda: "esc cancel" in text_of(app))
        await pilot.press("enter")  # nothing to take yet: the process still imports what it needs
        await until(pilot, lambda: "trying learning rates" in text_of(app), 60)
        await until(pilot, lambda: "enter take them" in text_of(app), 200)
        shown = text_of(app)
        assert all(words in shown for words in ("Head", "steepest", "minimum / 10", "Taken: ", "optimizer.lr = "))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert setting(app, "optimizer.lr") != before
        assert f"optimizer.lr = {setting(app, 'optimizer.lr'):g}" in shown

    drive(tmp_path, config(optimizer={"lr": 0.7}), size, test)


def test_a_test_is_cancelled_with_a_key_and_its_process_is_gone(tmp_path: Path, config: Callable[..., RunConfig]):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "esc cancel" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert setting(app, "optimizer.lr") == 0.01
        await app.workers.wait_for_complete()

    drive(tmp_path, config(), (80, 24), test)


def test_what_can_not_be_tested_is_said(tmp_path: Path, config: Callable[..., RunConfig]):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "no such folder" in text_of(app), 60)
        assert "esc close" in text_of(app)

    drive(tmp_path, config(data={"path": "/nowhere"}), (120, 40), test)
