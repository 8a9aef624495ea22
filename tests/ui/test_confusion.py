"""The confusion matrix can be read and walked through with two classes and with a thousand."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest
from rich.console import Console
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.runs import commands
from engine.runs import events as p
from tltui.tables.confusion import matrix_of, most_confused
from tltui.tables.evaluation import evaluation
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.confusion import Confusion, PairList
from tltui.widgets.confusion_matrix import ConfusionMatrix


def evaluated(confusion: list[list[int]], classes: list[str] | None = None) -> p.Evaluated:
    """An evaluation as it comes from a line of a log."""
    event = p.Evaluated(
        split="test",
        count=sum(map(sum, confusion)),
        log_loss=0.3,
        accuracy=0.9,
        accuracy_interval=(0.8, 0.95),
        balanced_accuracy=0.9,
        macro_f1=0.9,
        classes=classes or [f"class {at}" for at in range(len(confusion))],
        per_class=[
            p.ClassMetrics(label=f"class {at}", precision=0.0, recall=0.0, f1=0.0, support=0)
            for at in range(len(confusion))
        ],
        confusion=confusion,
        images_per_second=100.0,
    )
    decoded = p.decode_event(commands.encode(event))
    assert isinstance(decoded, p.Evaluated)
    return decoded


def test_a_printed_evaluation_of_a_thousand_classes_names_the_worst_ones():
    found = evaluated([[1]] * 1)
    metrics = [p.ClassMetrics(f"c{at}", 0.5, 0.5, f1=at / 1000, support=int(at != 3)) for at in range(1000)]
    found.classes, found.per_class = [one.label for one in metrics], metrics[::-1]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(evaluation(found, []))
    lines = console.export_text().splitlines()
    assert len(lines) < 25
    assert [line.split()[0] for line in lines[3:8]] == ["c0", "c1", "c2", "c4", "c5"]
    assert "985 more classes; evaluation/test.json" in lines[-1]


def neighbours(count: int) -> p.Evaluated:
    """Each class is taken for the next one now and then; class 7 often for class 3."""
    matrix = [[0] * count for _ in range(count)]
    for at in range(count):
        matrix[at][at] = 40
        matrix[at][(at + 1) % count] = 5
    matrix[7 % count][3 % count] += 20
    return evaluated(matrix)


class OneMatrix(App[None]):
    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.confusion = Confusion(glyphs=glyphs)
        self.chosen: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        yield self.confusion

    def on_confusion_cell_chosen(self, message: Confusion.CellChosen) -> None:
        self.chosen.append((message.true, message.predicted))


def walk(
    result: p.Evaluated,
    steps: Callable[[OneMatrix, Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = (80, 24),
    glyphs: Glyphs = UNICODE,
) -> None:
    async def main() -> None:
        app = OneMatrix(glyphs)
        async with app.run_test(size=size) as pilot:
            app.confusion.show(result)
            await pilot.pause()
            await steps(app, pilot)

    asyncio.run(main())


def matrix_lines(app: OneMatrix) -> list[str]:
    matrix = app.query_one(ConfusionMatrix)
    return [matrix.render_line(y).text.rstrip() for y in range(matrix.size.height)]


def test_two_classes_stand_in_full():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        lines = [line for line in matrix_lines(app) if line]
        assert [line.split() for line in lines] == [
            ["true", "daisy", "rose"],
            ["›", "daisy", "40", "2"],
            ["rose", "·", "38"],
        ]
        assert app.confusion.words == "daisy misclassified as rose: 2 of 42 (5%)"

    walk(evaluated([[40, 2], [0, 38]], ["daisy", "rose"]), steps)


def test_arrows_move_and_enter_chooses():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        app.query_one(ConfusionMatrix).focus()
        await pilot.press("down", "left", "enter")
        assert app.chosen == [("rose", "daisy")]
        await pilot.press("left", "down", "down", "right", "end", "enter")
        assert app.chosen[-1] == ("rose", "rose")
        assert app.confusion.words == "rose: 38 of 38 (100%) correct"
        await pilot.press("home", "pageup", "enter")
        assert app.chosen[-1] == ("daisy", "daisy")

    walk(evaluated([[40, 2], [0, 38]], ["daisy", "rose"]), steps)


def test_shares_of_the_true_class_can_be_shown():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        app.query_one(ConfusionMatrix).focus()
        await pilot.press("v")
        assert "95%" in matrix_lines(app)[1]
        await pilot.press("v")
        assert "%" not in matrix_lines(app)[1]

    walk(evaluated([[40, 2], [0, 38]], ["daisy", "rose"]), steps)


def test_worst_pairs_come_first():
    assert most_confused(matrix_of(neighbours(1000)))[0] == (20, 7, 3)
    assert most_confused(matrix_of(neighbours(9)), most=2) == [(20, 7, 3), (5, 0, 1)]
    assert most_confused(matrix_of(evaluated([[3, 0], [0, 3]]))) == []


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
def test_a_thousand_classes_begin_with_a_list_of_the_worst_pairs(size: tuple[int, int]):
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        pairs = app.query_one(PairList)
        assert pairs.display
        assert pairs.size.height >= 3
        assert app.confusion.words == "class 7 misclassified as class 3: 20 of 65 (31%)"
        pairs.focus()
        await pilot.press("down", "enter")
        assert app.chosen == [("class 0", "class 1")]
        assert app.confusion.words == "class 0 misclassified as class 1: 5 of 45 (11%)"
        app.query_one(ConfusionMatrix).focus()
        await pilot.press("end", "down", "enter")
        assert app.chosen[-1] == ("class 1", "class 999")
        assert "class 999" in matrix_lines(app)[0], "the name of the column is above it"
        assert any(line.startswith("› class 1 ") for line in matrix_lines(app))

    walk(neighbours(1000), steps, size)


def test_every_cell_can_be_reached_and_is_in_view():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        matrix = app.query_one(ConfusionMatrix)
        for true, predicted in ((0, 0), (19, 19), (0, 19), (10, 9), (11, 9), (19, 0)):
            matrix.move_to(true, predicted)
            await pilot.pause()
            row = next(line for line in matrix_lines(app) if line.startswith("›"))
            assert row.startswith(f"› class {true} ")
            x = matrix.scroll_offset.x
            assert x <= predicted * 5 <= x + matrix.size.width

    walk(neighbours(20), steps, (60, 16))


def test_few_classes_need_no_list():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        assert not app.query_one(PairList).display

    walk(neighbours(8), steps)


def test_a_click_moves_and_a_second_one_chooses():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        matrix = app.query_one(ConfusionMatrix)
        column = matrix_lines(app)[0].index("rose")
        await pilot.click(matrix, offset=(column, 2))
        assert (matrix.true, matrix.predicted) == (1, 1)
        assert app.chosen == []
        await pilot.click(matrix, offset=(column, 2))
        assert app.chosen == [("rose", "rose")]
        await pilot.click(matrix, offset=(0, 0))
        await pilot.click(matrix, offset=(70, 10))
        assert (matrix.true, matrix.predicted) == (1, 1)

    walk(evaluated([[40, 2], [0, 38]], ["daisy", "rose"]), steps)


def test_names_are_shown_as_text():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        app.query_one(PairList).focus()
        await pilot.pause()
        text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "\x1b" not in text
        assert "[red]" in text
        assert "雛菊" in text

    names = ["[red]x", "\x1b[31mred", "雛菊", *(f"class {at}" for at in range(7))]
    walk(evaluated(neighbours(10).confusion, names), steps, (120, 30))


def test_ascii_is_ascii():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        assert "".join(matrix_lines(app)).isascii()

    for count in (3, 20, 100):
        walk(neighbours(count), steps, glyphs=ASCII)


def test_another_evaluation_takes_the_place_of_the_first():
    async def steps(app: OneMatrix, pilot: Pilot[None]) -> None:
        app.confusion.show(evaluated([[1, 0], [3, 2]], ["a", "b"]))
        await pilot.pause()
        assert not app.query_one(PairList).display
        assert app.confusion.words == "b misclassified as a: 3 of 5 (60%)"

    walk(neighbours(1000), steps)


def test_before_an_evaluation_a_sentence_says_so():
    async def main() -> None:
        app = OneMatrix()
        async with app.run_test(size=(60, 12)) as pilot:
            app.query_one(ConfusionMatrix).focus()
            await pilot.press("down", "enter")
            assert app.confusion.words == "No evaluation yet."
            assert app.chosen == []

    asyncio.run(main())


def test_a_matrix_that_was_filled_while_hidden_can_be_shown():
    async def main() -> None:
        app = OneMatrix()
        async with app.run_test(size=(80, 24)) as pilot:
            app.confusion.display = False
            await pilot.pause()
            app.confusion.show(neighbours(2))
            await pilot.pause()
            app.confusion.display = True
            await pilot.pause()
            assert "40" in app.export_screenshot()

    asyncio.run(main())
