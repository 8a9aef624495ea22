"""The form of a sweep counts a grid without making it, and stays quick while one types."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from app_runs import digits, text_of, until
from test_sweep_screens import drive, fill_in
from textual.pilot import Pilot
from textual.widgets import Input

from tltui.app.app import TltuiApp
from tltui.screens.sweep_form import SweepForm
from tltui.settings.sweep_fields import SweepFields

_KEYS = (
    "optimizer.lr",
    "optimizer.weight_decay",
    "optimizer.backbone_lr_factor",
    "head.dropout",
    "optimizer.layer_decay",
)
_VALUES = ", ".join(f"0.{number:02d}" for number in range(1, 16))
HUGE = "\n".join(f'"{key}" = [{_VALUES}]' for key in _KEYS)  # 15 to the power of 5


def test_a_grid_is_counted_in_little_memory():
    filled = SweepFields("own", "grid", "none", "0", "0", "1", HUGE)
    filled.sweep(digits())  # imports and caches are there
    tracemalloc.start()
    wanted = filled.sweep(digits()).wanted
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert wanted == 15**5
    assert peak < wanted  # bytes: not one for each combination


def test_the_form_says_how_large_a_huge_grid_is(tmp_path: Path):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await fill_in(app, pilot, HUGE)
        app.screen.query_one("#sampler").focus()
        await pilot.press("left", "left")
        app.screen.query_one("#trials", Input).value = "0"
        await until(pilot, lambda: "759375 trials, each a run" in text_of(app))
        assert isinstance(app.screen, SweepForm)

    drive(tmp_path, digits(), (80, 24), test)
