"""Every long step tells how far it is, how fast, and how long it still takes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from folded_runs import beginning, through_a_log, training
from rich.cells import cell_len
from textual.app import App, ComposeResult

from engine.runs import commands
from engine.runs import events as p
from engine.runs.state import RunState, fold, fold_all
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.progress_line import ProgressLine


class OneLine(App[None]):
    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.line = ProgressLine(glyphs=glyphs)

    def compose(self) -> ComposeResult:
        yield self.line


def shown(*states: RunState, now: float, width: int = 80, glyphs: Glyphs = UNICODE) -> tuple[str, str]:
    """The line on the screen and in words after the states were shown one after the other."""

    async def main() -> tuple[str, str]:
        app = OneLine(glyphs)
        async with app.run_test(size=(width, 3)) as pilot:
            for state in states:
                app.line.show(state, now)
            await pilot.pause()
            return app.line.render_line(0).text.rstrip(), app.line.words

    return asyncio.run(main())


def reported(activity: str, done: int, total: int, unit: str, time: float) -> RunState:
    return fold(
        fold_all(beginning(3, 40)[:1]), p.Progress(activity=activity, done=done, total=total, unit=unit, time=time)
    )


@pytest.mark.parametrize(
    ("activity", "unit", "words"),
    [
        ("download", "B", "downloading weights  62%  0:10 left  31 MB of 50 MB  2.0 MB/s"),
        ("data", "images", "reading images  62%  0:10 left  31.0 M of 50.0 M images  2.0 M/s"),
        ("evaluate", "batches", "evaluating  62%  0:10 left  31.0 M of 50.0 M batches  2.0 M/s"),
    ],
)
def test_long_steps_tell_rate_and_time_left(activity: str, unit: str, words: str):
    first = reported(activity, 11_000_000, 50_000_000, unit, time=100)
    later = reported(activity, 31_000_000, 50_000_000, unit, time=110)
    line, spoken = shown(first, later, now=110, width=100)
    assert spoken.replace("31.0 MB", "31 MB").replace("50.0 MB", "50 MB") == words
    assert "━" in line


def test_an_unknown_total_has_no_bar():
    line, _ = shown(reported("data", 1240, 0, "images", time=5), now=5)
    assert line == "reading images   1,240 images"


def test_training_tells_epoch_share_rate_and_time_left():
    state = fold_all(through_a_log([*beginning(10, 40), *training(range(1, 101), 40)]))
    now = state.time
    line, words = shown(state, now=now)
    assert words == "epoch 3/10  25%  0:30 left  400 img/s"  # 300 steps of 4 s / 40
    assert line.startswith("epoch 3/10 ━")
    assert line.endswith(" 25%   0:30 left   400 img/s")
    assert shown(state, now=now + 10)[1] == words, "the clock alone changes nothing"


def test_before_the_first_epoch_ends_steps_and_the_plan_tell_the_time():
    state = fold_all(through_a_log([*beginning(10, 40), *training(range(1, 21), 40)]))
    assert shown(state, now=state.time)[1] == "epoch 1/10  5%  6:20 left  400 img/s"


def test_silence_is_shown():
    state = fold_all(through_a_log([*beginning(10, 40), *training(range(1, 101), 40)]))
    assert "no events for 0:40" in shown(state, now=state.time + 45)[1]
    assert "first step" in shown(fold_all(through_a_log(beginning(3, 40))), now=1003)[1]


def test_a_pause_is_shown_by_a_word():
    state = fold_all(through_a_log([*beginning(10, 40), *training(range(1, 101), 40)]))
    fold(state, p.CommandApplied(command=commands.Pause(id="p"), step=100))
    assert shown(state, now=state.time)[1] == "‖ paused in epoch 3/10  25%"


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ("completed", "", "✓ completed  after 1:15  best val accuracy 89.4% in epoch 2"),
        ("stopped", "by command", "■ stopped  by command  after 1:15  best val accuracy 89.4% in epoch 2"),
        ("failed", "disk \x1b[31mfull", "✗ failed  disk \\x1b[31mfull  after 1:15  best val accuracy 89.4% in epoch 2"),
    ],
)
def test_the_end_is_shown(status: str, reason: str, words: str):
    state = fold_all(beginning(3, 40))
    end = {
        "type": "run_finished",
        "status": status,
        "reason": reason,
        "seconds": 75.0,
        "exit_code": 0,
        "best_epoch": 2,
        "best_val_accuracy": 0.894,
    }
    fold(state, p.decode_event(msgspec.json.encode(end)))
    assert shown(state, now=2000)[1] == words


@pytest.mark.parametrize("width", [20, 30, 40, 60, 200])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_the_line_fits_any_width(width: int, glyphs: Glyphs):
    state = fold_all(through_a_log([*beginning(10, 40), *training(range(1, 101), 40)]))
    line, _ = shown(state, now=state.time, width=width, glyphs=glyphs)
    assert cell_len(line) <= width
    assert line.startswith("epoch 3/10")
    assert width < 40 or "left" in line
    assert glyphs is UNICODE or line.isascii()
