"""The folds of a cross-validation in the list of runs."""

from __future__ import annotations

from pathlib import Path

from app_runs import ScriptedEngine, app_on, digits, text_of, until
from folded_runs import training
from test_app import drive
from textual.pilot import Pilot

from engine.files.atomic import write_atomically
from engine.runs.commands import encode
from engine.runs.folder import RunFolder
from engine.runs.run_group import RunGroup
from tltui.app.app import TltuiApp
from tltui.screens.folds import FoldsScreen


def three_runs(engine: ScriptedEngine, runs: Path) -> list[RunFolder]:
    """A run by itself, and two of three folds: one has completed, the other trains."""
    for fold in (0, 1, 2):
        folder, _ = engine.start(runs, digits())
        if fold:
            write_atomically(folder.group, encode(RunGroup("cv-abc123", fold, 3)))
        engine.started[-1].begin(epochs=2)
        engine.started[-1].say(*training(range(1, 9), 8))
    for run in engine.started[:2]:
        run.end()
    return [run.folder for run in engine.started]


def test_the_folds_of_a_cross_validation_stand_below_one_row(tmp_path: Path):
    alone, *folds = three_runs(engine := ScriptedEngine(), tmp_path / "runs")

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        def row(words: str) -> str:
            return next(line for line in text_of(app).splitlines() if words in line)

        await until(pilot, lambda: "3 runs, 1 training" in text_of(app))
        assert "training" in row("▸ 1/3 folds")
        assert "fold 1/3" not in text_of(app)
        await pilot.press("home", "space")
        await until(pilot, lambda: "2 marked" in text_of(app))
        await pilot.press("home", "e")
        await until(pilot, lambda: "fold 2/3" in text_of(app))
        assert "▾ 1/3 folds" in text_of(app)
        assert ("completed" in row("fold 1/3"), "training" in row("fold 2/3")) == (True, True)
        await pilot.press("down", "space")
        await until(pilot, lambda: "1 marked" in text_of(app))
        await pilot.press("up", "x")
        await until(pilot, lambda: folds[0].id in text_of(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "2 runs" in text_of(app))
        assert (alone.path.exists(), folds[0].path.exists(), folds[1].path.exists()) == (True, False, True)
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(app.screen, FoldsScreen) and "1 running" in text_of(app))
        await pilot.press("down")
        await until(pilot, lambda: "enter open  s stop  r resume  esc back" in text_of(app))

    drive(lambda: app_on(tmp_path, engine), test, size=(80, 24))
