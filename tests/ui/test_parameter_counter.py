"""The parameter counter."""

import asyncio

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from engine.runs.events import ParameterCounts
from tltui.freeze_plan.editor import Memory
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.parameter_counter import ParameterCounter

SOME = ParameterCounts(total=23_700_000, trainable=15_200_000, frozen=8_500_000)
BYTES = Memory(weights=94_800_000, gradients=60_800_000, optimizer_state=121_600_000)


def shown(
    width: int,
    counts: ParameterCounts = SOME,
    *,
    memory: Memory | None = BYTES,
    cached: int = 402_000_000,
    boundary: str | None = "layer3",
    glyphs: Glyphs = UNICODE,
) -> list[str]:
    """The counter's lines as they are painted."""

    class CounterApp(App[None]):
        def compose(self) -> ComposeResult:
            counter = ParameterCounter(glyphs)
            counter.show(counts, memory, cached, boundary)
            yield counter

    async def main() -> list[str]:
        app = CounterApp()
        async with app.run_test(size=(width, 10)) as pilot:
            await pilot.pause()
            counter = app.query_one(ParameterCounter)
            return [counter.render_line(y).text.strip() for y in range(counter.size.height)]

    return asyncio.run(main())


def test_on_a_wide_screen_all_numbers_stand_on_three_lines():
    assert shown(80) == [
        "trainable 15.2 M of 23.7 M  ▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱▱  64%",
        "frozen     8.5 M  memory 277 MB: weights 94.8 MB, grads 60.8 MB, opt 122 MB",
        "features cached after layer3 (402 MB)",
    ]


@pytest.mark.parametrize("width", range(36, 101, 4))
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_no_number_is_cut_off_at_any_width(width: int, glyphs: Glyphs):
    lines = shown(width, glyphs=glyphs)
    text = " ".join(lines)
    for number in ("15.2 M", "23.7 M", "8.5 M", "64%", "94.8 MB", "60.8 MB", "122 MB", "402 MB"):
        assert number in text
    assert max(map(cell_len, lines)) <= width - 2
    assert "…" not in text


def test_the_bar_is_full_or_empty_for_exactly_all_and_nothing():
    def bar(trainable: int) -> str:
        return shown(60, ParameterCounts(total=10_000, trainable=trainable, frozen=10_000 - trainable))[0].split()[-2]

    assert "▰" not in bar(0)
    assert bar(1).count("▰") == 1
    assert bar(9_999).count("▱") == 1
    assert "▱" not in bar(10_000)


def test_what_is_not_known_is_left_out():
    assert shown(60, memory=None, boundary=None)[1:] == ["frozen     8.5 M"]
    assert shown(60, cached=0)[-1] == "features computed once after layer3"
