"""Looking at a folder of runs again and again."""

from pathlib import Path

from app_runs import ScriptedEngine, digits
from folded_runs import training

from tltui.runs.run_list import RunTable


def test_a_run_that_lives_is_shown_as_it_goes_on(tmp_path: Path):
    engine = ScriptedEngine()
    table = RunTable(tmp_path)
    assert table.look() == []
    engine.start(tmp_path, digits())
    run = engine.started[0]
    run.begin(epochs=4)
    (summary,) = table.look()
    assert (summary.status, summary.epoch, summary.epochs, summary.data) == ("training", 0, 4, "digits")
    run.say(*training(range(1, 17), 8))
    (summary,) = table.look()
    assert summary.epoch == 2
    run.end()
    assert table.look()[0].status == "completed"


def test_a_run_that_is_over_is_read_again_only_when_it_grows(tmp_path: Path):
    engine = ScriptedEngine()
    engine.start(tmp_path, digits())
    engine.started[0].begin()
    engine.started[0].end("stopped")
    table = RunTable(tmp_path)
    first, again = table.look()[0], table.look()[0]
    assert first is again
    engine.started[0].begin()
    assert table.look()[0] is not first


def test_a_run_whose_folder_is_deleted_goes(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path, digits())
    engine.started[0].end()
    table = RunTable(tmp_path)
    assert len(table.look()) == 1
    folder.config.unlink()
    assert table.look() == []


def test_a_run_whose_settings_can_not_be_read_is_passed_over_and_remembered(tmp_path: Path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.toml").write_text("nonsense = 1")
    table = RunTable(tmp_path)
    assert table.look() == []
    assert "nonsense" in table.unreadable["broken"]
