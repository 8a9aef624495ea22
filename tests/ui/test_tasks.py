"""The task of a draft, changed by one key."""

from __future__ import annotations

from pathlib import Path

from app_runs import ScriptedEngine, app_on, digits, images, notices, until
from test_app import drive
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.config.tasks import TASKS
from tltui.app.app import TltuiApp
from tltui.screens.setup_pane import SetupPane
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


def test_the_outputs_of_a_draft_follow_the_task_and_its_labels(tmp_path: Path):
    images(tmp_path, pic=24)
    table = tmp_path / "grades.csv"
    table.write_text("path,label\n" + "".join(f"pic/{number}.png,{number % 4}\n" for number in range(24)))
    draft = RunConfig.model_validate({"data": {"path": str(table)}})

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: bool(app.screen.query(SetupPane)))
        setup = app.screen.query_one(SetupPane)
        for task, outputs in {"auto": 4, "single": 4, "multilabel": 4, "ordinal": 3, "regression": 1}.items():
            setup.change({"data.task": task})
            await until(pilot, lambda outputs=outputs: setup.tree_key.classes == outputs)

    drive(lambda: app_on(tmp_path, ScriptedEngine(), draft=draft), test)
