"""Runs are marked in the list and compared on a screen of their own, driven by keys over real run folders."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import ScriptedEngine, app_on, digits, text_of, until
from textual.pilot import Pilot

from tests.compared_runs import an_epoch, write_run, write_runs
from tltui.app.app import TltuiApp
from tltui.screens.compare import Compare
from tltui.screens.home import Home
from tltui.screens.workbench import Workbench

SIZES = [(80, 24), (120, 40)]
Test = Callable[[Pilot[int], TltuiApp], Awaitable[None]]


def drive(tmp_path: Path, test: Test, size: tuple[int, int] = (80, 24), **options: object) -> None:
    async def main() -> None:
        app = app_on(tmp_path, **options)  # type: ignore[arg-type]
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: "digits" in text_of(app))
            await test(pilot, app)

    asyncio.run(main())


def table(app: TltuiApp) -> list[str]:
    """The lines below the heading of the table."""
    lines = text_of(app).splitlines()
    heading = next(at for at, line in enumerate(lines) if " run " in line and "val" in line)
    return lines[heading + 1 :]


@pytest.mark.parametrize("size", SIZES)
def test_marked_runs_are_compared_and_stay_marked(tmp_path: Path, size: tuple[int, int]):
    write_runs(tmp_path / "runs", 4)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("space", "space")
        await until(pilot, lambda: "2 marked" in text_of(app))
        assert text_of(app).count("◆") == 2
        await pilot.press("c")
        await until(pilot, lambda: "2 runs" in text_of(app))
        text = text_of(app)
        assert all(word in text for word in ("0000", "0001", "validation accuracy", "lr", "95 % interval"))
        assert "0002" not in text
        assert table(app)[0].split()[:2] == ["2", "0001"]  # the better one
        assert "McNemar: best validation score" in text
        await pilot.press("down")
        await until(pilot, lambda: "McNemar: worse than 2" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        assert "2 marked" in text_of(app)
        await pilot.press("escape")
        await until(pilot, lambda: "marked" not in text_of(app) and "◆" not in text_of(app))

    drive(tmp_path, test, size)


@pytest.mark.parametrize("size", SIZES)
def test_without_marks_all_runs_on_the_same_data_are_compared_however_many(tmp_path: Path, size: tuple[int, int]):
    write_runs(tmp_path / "runs", 50)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "50 runs" in text_of(app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Compare) and "80 % of 47 others" in text_of(app))
        assert table(app)[0].split()[-1] != "0.1"
        accuracies = [float(line.split()[3].rstrip("%")) for line in table(app)[:6]]
        assert accuracies == sorted(accuracies, reverse=True)
        await pilot.press("end")  # the last one has a curve of its own then
        await until(pilot, lambda: "80 % of 46 others" in text_of(app))
        last = app.screen.query_one("ComparedTable")
        assert last.has_focus
        await pilot.press(*["right"] * 20)
        await until(pilot, lambda: "per epoch" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Compare))

    drive(tmp_path, test, size)


def test_a_running_run_is_updated_in_the_comparison(tmp_path: Path):
    engine = ScriptedEngine()
    runs = tmp_path / "runs"
    write_runs(runs, 2)
    engine.start(runs, digits(epochs=8))
    run = engine.started[0]
    run.begin(8)
    run.say(an_epoch(1, 0.2))

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: "1 training" in text_of(app) and "20.0%" in text_of(app))
        before = text_of(app)
        run.say(an_epoch(2, 0.99))
        await until(pilot, lambda: "99.0%" in text_of(app))
        assert table(app)[0].split()[1] == run.folder.id.split("-")[0]  # it has become the best
        assert before.splitlines()[3:8] != text_of(app).splitlines()[3:8]  # its curve goes on
        run.end()
        await until(pilot, lambda: "training" not in text_of(app).splitlines()[0])

    drive(tmp_path, test, engine=engine)


def test_what_to_mark_is_said_where_there_is_nothing_to_compare(tmp_path: Path):
    write_runs(tmp_path / "runs", 2)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("space", "up", "c")  # marked, and the cursor on it
        await until(pilot, lambda: "Too few runs marked" in text_of(app))
        assert isinstance(app.screen, Home)

    drive(tmp_path, test)


def test_names_and_reasons_from_strangers_are_obeyed_by_nothing(tmp_path: Path):
    runs = tmp_path / "runs"
    write_runs(runs, 2)
    write_run(runs, "\x1b[31mred[bold]-digits", 2, reason="\x1b]0;owned\x07 [red]all[/] done")

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("c")
        await until(pilot, lambda: "3 runs" in text_of(app))
        await pilot.press("end")
        await until(pilot, lambda: "[bold]" in text_of(app))
        assert "\x1b" not in text_of(app)

    drive(tmp_path, test)


def test_a_run_that_is_deleted_meanwhile_ends_no_comparison(tmp_path: Path):
    folders = write_runs(tmp_path / "runs", 3)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "3 runs" in text_of(app))
        folders[0].config.unlink()
        await pilot.press("c")
        await until(pilot, lambda: "can't be compared" in text_of(app))
        assert isinstance(app.screen, Home)

    drive(tmp_path, test)
