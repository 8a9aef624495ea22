"""The evaluation of a run: its figures, its classes in any order, and how far confidence can be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import text_of, until
from still_life import app, evaluated
from textual.pilot import Pilot

from engine.runs import events as p
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder
from tltui.cli.report import write_report
from tltui.runs import registry
from tltui.text.glyphs import ASCII, UNICODE
from tltui.widgets.reliability import reliability_lines

Test = Callable[[Pilot[int]], Awaitable[None]]


def drive(tmp_path: Path, size: tuple[int, int], test: Test) -> None:
    async def main() -> None:
        opened = app(tmp_path, run="c0de-flowers-resnet18")
        async with opened.run_test(size=size) as pilot:
            await until(pilot, lambda: "completed" in text_of(opened))
            await pilot.press("f5")
            await until(pilot, lambda: "92.0%" in text_of(opened))
            await test(pilot)

    asyncio.run(main())


@pytest.mark.parametrize(("size", "views"), [((80, 24), 3), ((120, 40), 2)])
def test_views_take_turns_and_come_back(size: tuple[int, int], views: int, tmp_path: Path):
    async def test(pilot: Pilot[int]) -> None:
        assert "ROC-AUC 0.984 · AP 0.951 · log loss 0.210 · ECE 3.1%" in text_of(pilot.app)
        assert "x view  m errors" in text_of(pilot.app)
        seen = []
        for _ in range(views):
            text = text_of(pilot.app)
            seen.append(("misclassified as" in text, "precision" in text, "expected calibration error 3.1%" in text))
            await pilot.press("x")
            await pilot.pause()
        turns = [(True, False, False), (False, True, False)] if views == 3 else [(True, True, False)]
        assert seen == [*turns, (False, False, True)]
        assert "misclassified as" in text_of(pilot.app)

    drive(tmp_path, size, test)


def test_classes_are_sorted_by_each_column_in_turn(tmp_path: Path):
    def first(text: str) -> str:
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if "precision" in line)
        return lines[at + 1].split("│")[-2].split()[0]

    async def test(pilot: Pilot[int]) -> None:
        found = []
        for _ in range(6):
            found.append(first(text_of(pilot.app)))
            await pilot.press("o")
            await pilot.pause()
        by_f1, by_auc, _by_images, by_name, by_precision, by_recall = found
        assert (by_f1, by_auc, by_name, by_precision, by_recall) == ("rose", "rose", "daisy", "rose", "tulip")

    drive(tmp_path, (120, 40), test)


COOCCURRENCE = [[30, 5, 0, 0, 0], [0, 39, 0, 0, 0], [8, 0, 35, 0, 31], [0, 0, 0, 38, 0], [0, 0, 6, 0, 34]]


def several_labels(labels: int) -> p.Evaluated:
    """The test split of a multilabel run: each label is on 40 images, which may have others, too."""
    one = evaluated()
    more = range(len(one.classes), labels)
    names = [*one.classes, *(f"label {at}" for at in more)]
    metrics = [
        *one.per_class,
        *(p.ClassMetrics(names[at], precision=0.5, recall=0.5, f1=0.5, support=40) for at in more),
    ]
    matrix = [[40 if true == predicted else 0 for predicted in range(labels)] for true in range(labels)]
    for row, counts in zip(matrix, COOCCURRENCE, strict=False):
        row[: len(counts)] = counts
    return p.Evaluated(
        split="test", count=120, classes=names, per_class=metrics, images_per_second=400.0, macro_f1=0.91,
        average_precision=0.951, task="multilabel", score="average_precision", cooccurrence=matrix,
    )  # fmt: skip


def drive_several_labels(tmp_path: Path, size: tuple[int, int], labels: int, test: Test) -> None:
    async def main() -> None:
        opened = app(tmp_path, run="c0de-flowers-resnet18")
        log = EventLog(RunFolder(tmp_path / "runs" / "c0de-flowers-resnet18"))
        log.write(several_labels(labels))
        log.close(patience=0)
        async with opened.run_test(size=size) as pilot:
            await until(pilot, lambda: "completed" in text_of(opened))
            await pilot.press("f5")
            await until(pilot, lambda: "average precision 0.951" in text_of(opened))
            await test(pilot)

    asyncio.run(main())


@pytest.mark.parametrize(("size", "views"), [((80, 24), 2), ((120, 40), 1)])
def test_of_several_labels_per_image_co_occurrences_are_shown_and_walked_through(
    size: tuple[int, int], views: int, tmp_path: Path
):
    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "images with rose: tulip predicted for 31 of 40 (78%)" in text_of(pilot.app))
        await pilot.press("up", "up", "left", "left", "left")
        await until(pilot, lambda: "images with daisy: dandelion predicted for 5 of 40" in text_of(pilot.app))
        await pilot.press("left", "v")
        await until(pilot, lambda: "images with daisy: daisy predicted for 30 of 40 (75%)" in text_of(pilot.app))
        row = next(line for line in text_of(pilot.app).splitlines() if "› daisy" in line)
        assert row.split("daisy")[1].split()[:3] == ["75%", "12%", "·"]
        seen = []
        for _ in range(views):
            text = text_of(pilot.app)
            seen.append(("images with daisy" in text, "recall" in text))
            assert "calibration error" not in text
            await pilot.press("x")
            await pilot.pause()
        assert seen == ([(True, False), (False, True)] if views == 2 else [(True, True)])
        assert "images with daisy" in text_of(pilot.app)

    drive_several_labels(tmp_path, size, len(COOCCURRENCE), test)


def test_of_many_labels_the_most_frequent_pairs_are_listed_in_app_and_report(tmp_path: Path):
    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "images with rose: tulip predicted for 31 of 40 (78%)" in text_of(pilot.app))
        lines = [line for line in text_of(pilot.app).splitlines() if " → " in line and "%" in line]
        assert lines[0].split("rose → tulip")[1].split()[:2] == ["31", "78%"]
        assert lines[1].split("rose → daisy")[1].split()[:2] == ["8", "20%"]

    drive_several_labels(tmp_path, (80, 24), 40, test)
    write_report(registry.find(tmp_path / "runs", "c0de"), tmp_path / "report.md")
    assert "| rose | tulip | 31 |\n| rose | daisy | 8 |" in (tmp_path / "report.md").read_text()


def test_numbers_are_shown_as_a_scatter_with_the_largest_errors_first(tmp_path: Path):
    points = [(float(at), at + 0.5) for at in range(20)]
    metrics = {"mae": 0.5, "rmse": 0.5, "r2": 0.9876, "spearman": 1.0}
    numbers = [p.NumberMetrics(name, 0.5, 0.5, 0.9876, 1.0, 9.5, 5.8, points) for name in ("height", "width")]
    of_numbers = p.Evaluated(
        split="test", count=20, classes=["height", "width"], images_per_second=400.0, task="regression", score="r2",
        metrics=metrics, numbers=numbers,
    )  # fmt: skip

    async def main() -> None:
        opened = app(tmp_path, run="c0de-flowers-resnet18")
        log = EventLog(RunFolder(tmp_path / "runs" / "c0de-flowers-resnet18"))
        log.write(of_numbers)
        log.close(patience=0)
        async with opened.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "completed" in text_of(opened))
            await pilot.press("f5")
            await until(pilot, lambda: "R² 0.988" in text_of(opened) and "height" in text_of(opened))
            assert text_of(opened).count("●") >= 8
            assert "precision" not in text_of(opened)
            await pilot.press("n")
            await until(pilot, lambda: "width  predicted" in text_of(opened))

    asyncio.run(main())


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [40, 74, 200])
def test_bars_end_where_the_answers_are_right_and_fit(width: int, glyphs: object):
    lines = reliability_lines(evaluated(), width, glyphs)  # type: ignore[arg-type]
    assert all(len(line) <= max(width, 46) for line in lines[:-1])
    low, *_, high = lines[1:5]
    assert low.count(glyphs.bar_full) < high.count(glyphs.bar_full)  # type: ignore[attr-defined]
    assert lines[-1] == "expected calibration error 3.1%, underconfident by 1.0% on average"
