"""A run whose run.toml can't be read is in the table, says why, and is as before once the file is mended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from app_runs import ScriptedEngine, app_on, digits, sentence_of, text_of, until
from test_app import drive
from textual.pilot import Pilot

from tltui.app.app import TltuiApp
from tltui.screens.workbench import Workbench


def broken_run(tmp_path: Path) -> tuple[ScriptedEngine, Path, str]:
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path / "runs", digits())
    engine.started[0].begin()
    engine.started[0].end("stopped")
    good = folder.config.read_text()
    folder.config.write_text("[train\nepochs = 3")
    return engine, folder.config, good


def test_the_app_lists_it_with_the_reason_and_opens_it_when_it_is_mended(tmp_path: Path):
    engine, config, good = broken_run(tmp_path)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: config.parent.name[:4] in text_of(app) and "stopped" in text_of(app))
        assert "can't be read" in text_of(app)
        await until(pilot, lambda: "not valid TOML" in sentence_of(app))
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, Workbench)
        config.write_text(good)
        await until(pilot, lambda: "digits" in text_of(app) and "can't be read" not in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Workbench))

    drive(lambda: app_on(tmp_path, engine), test)


def test_the_command_lists_it_with_the_reason(tmp_path: Path):
    _, config, good = broken_run(tmp_path)

    def listed(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tltui", "runs", "--runs-dir", str(tmp_path / "runs"), *options]
        return subprocess.run(command, check=True, capture_output=True, text=True)

    (run,) = json.loads(listed("--json").stdout)
    assert (run["run"], run["status"], run["model"]) == (config.parent.name, "stopped", "resnet18")
    assert "not valid TOML" in run["problem"]
    plain = listed()
    assert config.parent.name[:4] in plain.stdout
    assert "can't be read" in plain.stdout
    assert f"the settings of run {config.parent.name} can't be read: {config}: not valid TOML" in plain.stderr
    config.write_text(good)
    (run,) = json.loads(listed("--json").stdout)
    assert "problem" not in run
    assert run["data"] == "digits"
