"""The task of a draft, changed by one key."""

from __future__ import annotations

from pathlib import Path

from app_runs import ScriptedEngine, app_on, digits, notices, until
from test_app import drive
from textual.pilot import Pilot

from engine.config.tasks import TASKS
from tltui.app.app import TltuiApp
from tltui.widgets.config_form import ConfigForm


def test_a_key_goes_through_all_tasks_and_says_what_each_predicts(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: bool(app.screen.query(ConfigForm)))
        draft = app.screen.query_one(ConfigForm).draft
        assert draft["data.task"] == "auto"
        for name, entry in TASKS.items():
            await pilot.press("T")
            await until(pilot, lambda name=name: draft["data.task"] == name)
            await until(pilot, lambda help=entry.help: help in notices(app))
        await pilot.press("T")
        await until(pilot, lambda: draft["data.task"] == "auto")

    drive(lambda: app_on(tmp_path, ScriptedEngine(), draft=digits()), test)
