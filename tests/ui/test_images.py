"""Images in the terminal, from a real run by a real process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import text_of, until
from pseudo_terminal import Terminal
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.runs.folder import RunFolder
from tests.conftest import COLOURS, Engine
from tltui.app.app import TltuiApp
from tltui.engine_client.queries import EngineQueries
from tltui.runs.predictions import confused_images, images_of_class, misclassified_images
from tltui.widgets.image_view import kind_of

CLASSES = sorted(COLOURS)
Test = Callable[[Pilot[int]], Awaitable[None]]


@pytest.fixture
def run(engine: Engine, config: Callable[..., RunConfig]) -> RunFolder:
    folder, _, status = engine.run(config())
    assert status == 0
    return folder


def drive(run: RunFolder, size: tuple[int, int], test: Test) -> None:
    async def main() -> None:
        app = TltuiApp(run.path.parent, open_run=run, queries=EngineQueries(), config_dir=run.path / "config")
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: "completed" in text_of(app))
            await test(pilot)

    asyncio.run(main())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_the_images_of_a_class_are_looked_through(size: tuple[int, int], run: RunFolder):
    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("b")
        await until(pilot, lambda: "Images of which class?" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "▀▀▀" in text_of(pilot.app))
        assert f"{CLASSES[0]}: " in text_of(pilot.app)
        before = pilot.app.export_screenshot()
        await pilot.press("down")
        await until(pilot, lambda: "▀▀▀" in text_of(pilot.app) and pilot.app.export_screenshot() != before)
        await pilot.press("g")
        await until(pilot, lambda: f"Grad-CAM for {CLASSES[0]}" in text_of(pilot.app) and "▀▀▀" in text_of(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: "▀▀▀" not in text_of(pilot.app))

    drive(run, size, test)


def test_tables_give_what_was_asked_for(run: RunFolder):
    label = CLASSES[0]
    assert {one.true for one in images_of_class(run.splits, label)} == {label}
    by_cell = [confused_images(run.predictions, true, predicted) for true in CLASSES for predicted in CLASSES]
    assert sum(map(len, by_cell)) == len(run.predictions.read_text().splitlines()) - 1
    wrong = [one for cell in by_cell for one in cell if one.true != one.predicted]
    found = misclassified_images(run.predictions, CLASSES)
    assert sorted(found) == sorted(wrong)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    assert all(one.probability > 1 / len(CLASSES) for one in found)
    assert misclassified_images(run.path / "nowhere.csv", CLASSES) == []


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "screen.xterm-kitty"}, "blocks"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "sixel"),
        ({}, "blocks"),
    ],
)
def test_graphics_are_sent_only_to_terminals_that_are_known_for_them(environment: dict[str, str], kind: str):
    assert kind_of(environment) == kind


@pytest.mark.parametrize(("kind", "begins"), [("sixel", b"\x1bP"), ("kitty", b"\x1b_G")])
def test_graphics_are_sent_where_the_user_says_so(kind: str, begins: bytes, run: RunFolder, tmp_path: Path):
    command = [sys.executable, "-m", "tltui", "attach", str(run.path), "--images", kind, "--no-mouse"]
    terminal = Terminal(command, 80, 24, XDG_CONFIG_HOME=str(tmp_path / "config"))
    terminal.wait_for("completed")
    assert begins not in terminal.seen
    terminal.press("b")
    terminal.wait_for("Images of which class?")
    terminal.press("\r")
    terminal.wait_for(lambda: begins in terminal.seen)
    terminal.kill()
