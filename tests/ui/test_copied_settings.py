"""What a new run takes over from a run: its run.toml and what commands changed, not what a phase sets for a while."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_runs import ScriptedEngine, ScriptedRun, app_on, digits, text_of, until
from folded_runs import training
from test_app import drive, running
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.config.toml_io import load
from engine.runs import commands
from engine.runs import events as p
from tltui.app.app import TltuiApp
from tltui.screens.workbench import Workbench

COUNTS = p.ParameterCounts(total=11_181_642, trainable=11_181_642, frozen=0)
RECIPE = RunConfig.model_validate(
    {
        "data": {"source": "digits"},
        "model": {"name": "resnet18"},
        "optimizer": {"lr": 0.02, "backbone_lr_factor": 0.3, "layer_decay": 0.9},
        "recipe": {"phases": [{"epochs": 1, "rules": ["freeze *", "train head"]}, {"epochs": 3, "rules": ["train *"]}]},
    }
)
SECOND_PHASE = p.Phase(
    number=2, phases=2, epochs=3, step=8, epoch=1, rules=["train *"], lr=0.0005, backbone_lr_factor=1.0,
    layer_decay=0.5, parameters=COUNTS,
)  # fmt: skip


async def in_its_second_phase(pilot: Pilot[int], app: TltuiApp, engine: ScriptedEngine) -> ScriptedRun:
    run = await running(pilot, app, engine)
    run.say(SECOND_PHASE, *training(range(9, 12), 8))
    await until(pilot, lambda: "phase 2/2" in text_of(app) and "● layer4" in text_of(app))
    return run


async def copied(pilot: Pilot[int], app: TltuiApp, engine: ScriptedEngine, *keys: str) -> RunConfig:
    """The config of the run that is started from the draft which ``keys`` open."""
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(app.screen, Workbench) and "○ draft" in text_of(app))
    await until(pilot, lambda: "layer4" in text_of(app))
    await pilot.press("r")
    await until(pilot, lambda: len(engine.started) == 2)
    return engine.started[-1].folder.load_config()


@pytest.mark.parametrize("keys", [("f2", "y"), ("d", "y")], ids=["workbench", "runs"])
def test_a_new_run_like_this_has_the_rates_of_run_toml_not_of_the_phase(keys: tuple[str, ...], tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await in_its_second_phase(pilot, app, engine)
        run.end()
        await until(pilot, lambda: "✓ completed" in text_of(app))
        await pilot.press(keys[0])
        await until(pilot, lambda: keys[0] != "d" or "tltui  runs" in text_of(app))
        await until(pilot, lambda: "✓ completed" in text_of(app))
        config = await copied(pilot, app, engine, keys[1])
        assert config == run.folder.load_config()

    drive(lambda: app_on(tmp_path, engine, draft=RECIPE), test)


def test_a_new_run_like_this_has_what_commands_changed(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        run.say(
            p.CommandApplied(command=commands.Set(id="x", key="optimizer.lr", value=0.25), step=9),
            *training(range(9, 11), 8),
        )
        run.end()
        await until(pilot, lambda: "✓ completed" in text_of(app))
        assert (await copied(pilot, app, engine, "f2", "y")).optimizer.lr == 0.25

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_the_settings_that_are_saved_in_a_phase_are_those_of_run_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await in_its_second_phase(pilot, app, engine)
        await pilot.press("f2", "w")
        await until(pilot, lambda: "Save settings as" in text_of(app))
        await pilot.press("enter")
        await until(pilot, (tmp_path / "run.toml").exists)
        assert load(tmp_path / "run.toml") == run.folder.load_config()
        run.end()

    drive(lambda: app_on(tmp_path, engine, draft=RECIPE), test)
