"""A recipe in the app: chosen for a draft, followed in a run."""

from __future__ import annotations

from pathlib import Path

from app_runs import ScriptedEngine, app_on, digits, text_of, until
from folded_runs import training
from test_app import drive, running
from textual.pilot import Pilot

from engine.config.recipes import READY_MADE
from engine.runs import events as p
from tltui.app.app import TltuiApp
from tltui.screens.workbench import Workbench
from tltui.widgets.config_form import ConfigForm

COUNTS = p.ParameterCounts(total=11_181_642, trainable=11_181_642, frozen=0)


async def choose(pilot: Pilot[int], app: TltuiApp, recipe: str) -> None:
    await until(pilot, lambda: "layer4" in text_of(app))
    await pilot.press("j")
    await until(pilot, lambda: "Recipe: training in phases" in text_of(app))
    await pilot.press(*["down"] * (1 + list(READY_MADE).index(recipe)), "enter")


def phases_of(app: TltuiApp) -> list[dict]:
    assert isinstance(app.screen, Workbench)
    return app.screen.query_one(ConfigForm).draft["recipe.phases"]


def test_a_recipe_that_is_chosen_stands_in_the_draft_and_in_the_run(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await choose(pilot, app, "gradual")
        await until(pilot, lambda: bool(phases_of(app)))
        assert isinstance(app.screen, Workbench)
        app.screen.focus_setting("recipe.phases")
        await until(pilot, lambda: "5 phases, 1+1+1+1+4 epochs" in text_of(app))
        await pilot.press("r")
        await until(pilot, lambda: engine.started)

    drive(lambda: app_on(tmp_path, engine, draft=digits(epochs=8)), test)
    config = engine.started[0].folder.load_config()
    assert sum(phase.epochs for phase in config.recipe.phases) == config.train.epochs == 8
    assert config.freeze.rules == config.recipe.phases[0].rules


def test_the_tree_of_a_draft_is_that_of_the_first_phase(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await choose(pilot, app, "lp-ft")
        await until(pilot, lambda: bool(phases_of(app)))
        await until(pilot, lambda: "○ layer4" in text_of(app))
        assert isinstance(app.screen, Workbench)
        app.screen.action_show_layers()
        await pilot.press("1")
        await until(pilot, lambda: "train layer4" in phases_of(app)[0]["rules"])
        assert phases_of(app)[1]["rules"] == ["train *"]
        await pilot.press("j")
        await until(pilot, lambda: "Recipe: training in phases" in text_of(app))
        await pilot.press("down", "up", "enter")
        await until(pilot, lambda: not phases_of(app))

    drive(lambda: app_on(tmp_path, draft=digits(epochs=8)), test)


def test_a_phase_that_begins_moves_the_tree_the_settings_and_the_progress(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await until(pilot, lambda: "○ layer4" in text_of(app))
        phase = p.Phase(
            number=2, phases=3, epochs=1, step=8, epoch=1, rules=["train *"], lr=0.0005, backbone_lr_factor=1.0,
            layer_decay=1.0, parameters=COUNTS,
        )  # fmt: skip
        run.say(phase, *training(range(9, 12), 8))
        await until(pilot, lambda: "phase 2/3, epoch 2/" in text_of(app))
        await until(pilot, lambda: "● layer4" in text_of(app))
        assert isinstance(app.screen, Workbench)
        assert app.screen.query_one(ConfigForm).draft["optimizer.lr"] == 0.0005

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)
