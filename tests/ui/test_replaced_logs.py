"""The app on a copy of a run that is brought up to date from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_runs import ScriptedEngine, app_on, digits, text_of, until
from folded_runs import training
from test_app import drive
from textual.pilot import Pilot

from engine.files.atomic import write_atomically
from engine.runs.folder import RunFolder
from tltui.app.app import TltuiApp
from tltui.runs.run_follower import RunFollower


@pytest.fixture
def copies(tmp_path: Path) -> tuple[ScriptedEngine, RunFolder]:
    """A run that trains elsewhere, and its copy here."""
    engine = ScriptedEngine()
    engine.start(tmp_path / "elsewhere", digits())
    source = engine.started[0]
    engine.start(tmp_path / "runs", digits())
    copy = engine.started[1]
    source.begin()
    source.say(*training(range(1, 9), 8))
    copy.folder.model.write_bytes(source.folder.model.read_bytes())
    write_atomically(copy.folder.events, source.folder.events.read_bytes())
    return engine, copy.folder


def test_an_open_run_continues_with_each_copy_and_restarts_with_another_log(
    copies: tuple[ScriptedEngine, RunFolder], tmp_path: Path
):
    engine, folder = copies
    source = engine.started[0]

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "epoch 2/4" in text_of(app))
        for last, words in ((16, "epoch 3/4"), (24, "epoch 4/4")):
            source.say(*training(range(last - 7, last + 1), 8))
            write_atomically(folder.events, source.folder.events.read_bytes())
            await until(pilot, lambda words=words: words in text_of(app))
        lines = source.folder.events.read_bytes().splitlines(keepends=True)
        write_atomically(folder.events, b"".join(lines[:13]))
        await until(pilot, lambda: "epoch 2/4" in text_of(app))
        write_atomically(folder.events, b"".join(lines))
        await until(pilot, lambda: "epoch 4/4" in text_of(app) and "○ layer4" in text_of(app))

    drive(lambda: app_on(tmp_path, engine, open_run=folder), test)


def test_a_run_is_folded_anew_and_once(copies: tuple[ScriptedEngine, RunFolder]):
    engine, folder = copies
    source = engine.started[0]
    following = RunFollower(folder)
    following.poll()
    assert (len(following.state.epochs), len(following.state.steps)) == (1, 8)
    before = following.state
    source.say(*training(range(9, 17), 8))
    write_atomically(folder.events, source.folder.events.read_bytes())
    assert following.poll()
    assert following.state is before
    assert (len(following.state.epochs), len(following.state.steps)) == (2, 16)
    lines = source.folder.events.read_bytes().splitlines(keepends=True)
    with folder.events.open("wb") as file:
        file.writelines(lines[:6])
    assert following.poll()
    assert following.state is not before
    assert (len(following.state.epochs), len(following.state.steps), following.state.seq) == (0, 3, 6)
    assert not following.poll()
