"""Looking at a folder of runs again and again, and the table that shows them."""

import asyncio
import time
from pathlib import Path

from app_runs import ScriptedEngine, digits, text_of
from folded_runs import training
from textual.app import App, ComposeResult

from engine.files.atomic import write_atomically
from engine.runs.run_status import RunStatus
from tltui.runs.run_list import RunList
from tltui.tables.run_columns import RunRow
from tltui.widgets.runs_table import RunsTable


def test_a_blank_stands_between_the_columns_of_the_list_at_80_cells():
    row = RunRow(
        id="c0de-flowers",
        status=RunStatus.EVALUATING,
        name="c0de",
        data="flowers of three continents",
        model="efficientnet_lite0.ra_in1k",
        trainable=0.0001,
        best="100.0%",
        epoch=100,
        epochs=100,
        since=time.time() - 3_000,
    )

    class TableApp(App[None]):
        CSS = "RunsTable { margin: 0 1; }"

        def compose(self) -> ComposeResult:
            yield RunsTable()

    async def main() -> None:
        app = TableApp()
        async with app.run_test(size=(80, 24)) as pilot:
            app.query_one(RunsTable).show([row])
            await pilot.pause()
            line = text_of(app).splitlines()[1]
            assert line.split() == "● evaluating c0de flowers of … efficientnet… <0.1% 100.0% 100/100 50 min".split()

    asyncio.run(main())


def test_a_running_run_is_updated_in_the_list(tmp_path: Path):
    engine = ScriptedEngine()
    table = RunList(tmp_path)
    assert table.refresh() == []
    engine.start(tmp_path, digits())
    run = engine.started[0]
    run.begin(epochs=4)
    (summary,) = table.refresh()
    assert (summary.status, summary.epoch, summary.epochs, summary.data) == ("training", 0, 4, "digits")
    run.say(*training(range(1, 17), 8))
    (summary,) = table.refresh()
    assert summary.epoch == 2
    run.end()
    assert table.refresh()[0].status == "completed"


def test_a_run_that_is_over_is_read_again_only_when_it_grows(tmp_path: Path):
    engine = ScriptedEngine()
    engine.start(tmp_path, digits())
    engine.started[0].begin()
    engine.started[0].end("stopped")
    table = RunList(tmp_path)
    first, again = table.refresh()[0], table.refresh()[0]
    assert first is again
    engine.started[0].begin()
    assert table.refresh()[0] is not first


def test_a_run_whose_folder_is_deleted_goes(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path, digits())
    engine.started[0].end()
    table = RunList(tmp_path)
    assert len(table.refresh()) == 1
    folder.config.unlink()
    assert table.refresh() == []


def test_a_run_whose_settings_can_not_be_read_is_listed_with_the_reason_until_they_are_mended(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path, digits())
    run, good = engine.started[0], folder.config.read_text()
    run.begin(epochs=7)
    folder.config.write_text("nonsense = 1")
    table = RunList(tmp_path)
    (summary,) = table.refresh()
    assert (summary.run, summary.status, summary.model, summary.epochs) == (folder.id, "training", "resnet18", 7)
    assert "nonsense" in summary.problem
    run.say(*training(range(1, 9), 8))
    assert table.refresh()[0].epoch == 1
    folder.config.write_text(good)
    (summary,) = table.refresh()
    assert (summary.problem, summary.data, summary.epoch) == ("", "digits", 1)
    run.end()
    assert table.refresh()[0].status == "completed"
    folder.config.write_bytes(b"\xff")
    assert "UTF-8" in table.refresh()[0].problem
    write_atomically(folder.config, good.encode())
    assert table.refresh()[0].problem == ""


def test_a_run_without_a_log_whose_settings_can_not_be_read_is_listed(tmp_path: Path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.toml").mkdir()
    (summary,) = RunList(tmp_path).refresh()
    assert (summary.run, summary.status) == ("broken", "starting")
    assert "a folder, not a file" in summary.problem


def test_a_run_whose_log_is_replaced_by_another_of_the_same_size_is_read_anew(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path, digits())
    engine.started[0].begin()
    engine.started[0].end("completed")
    table = RunList(tmp_path)
    assert table.refresh()[0].status == "completed"
    other = folder.events.read_bytes().replace(b'"completed"', b'"stopped"  ')
    write_atomically(folder.events, other)
    assert table.refresh()[0].status == "stopped"
