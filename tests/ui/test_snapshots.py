"""The screens look as they did: two sizes, two themes. ``pytest tests/ui/test_snapshots.py --snapshot-update`` takes
new images, to be looked at before they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_runs import app_on, text_of, until
from still_life import app
from textual.pilot import Pilot

from tests.compared_runs import write_runs
from tltui.screens.compare import Compare
from tltui.screens.home import Home
from tltui.screens.manual import Manual
from tltui.screens.workbench import Workbench
from tltui.widgets.layer_rows import LayerRows

SIZES = [(80, 24), (120, 40)]
THEMES = ["tltui-dark", "tltui-light"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_home_looks_as_it_did(size: tuple[int, int], theme: str, tmp_path: Path, snap_compare: Callable[..., bool]):
    async def settle(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Home) and "c0de" in text_of(pilot.app))

    assert snap_compare(app(tmp_path, theme=theme), terminal_size=size, run_before=settle)


@pytest.mark.parametrize("key", ["f2", "f3", "f4", "f5"])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_workbench_looks_as_it_did(
    size: tuple[int, int], theme: str, key: str, tmp_path: Path, snap_compare: Callable[..., bool]
):
    async def settle(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Workbench) and pilot.app.screen.query(LayerRows))
        await pilot.press(key)
        await until(pilot, lambda: "completed" in text_of(pilot.app))

    opened = app(tmp_path, run="c0de-flowers-resnet18", theme=theme)
    assert snap_compare(opened, terminal_size=size, run_before=settle)


@pytest.mark.parametrize("runs", [3, 20])
@pytest.mark.parametrize("size", SIZES)
def test_a_comparison_looks_as_it_did(
    size: tuple[int, int], runs: int, tmp_path: Path, snap_compare: Callable[..., bool]
):
    write_runs(tmp_path / "runs", runs)

    async def settle(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "0002" in text_of(pilot.app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, Compare) and "McNemar" in text_of(pilot.app))

    assert snap_compare(app_on(tmp_path, theme="tltui-dark"), terminal_size=size, run_before=settle)


@pytest.mark.parametrize("view", ["page", "list", "search"])
@pytest.mark.parametrize("size", SIZES)
def test_the_manual_looks_as_it_did(
    size: tuple[int, int], view: str, tmp_path: Path, snap_compare: Callable[..., bool]
):
    async def settle(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Home))
        await pilot.app.run_action("manual('themes')")
        await until(pilot, lambda: isinstance(pilot.app.screen, Manual) and "Themes" in text_of(pilot.app))
        await pilot.press(*{"page": [], "list": ["left"], "search": ["slash", *".toml"]}[view])
        await until(pilot, lambda: view != "search" or "found" in text_of(pilot.app))

    assert snap_compare(app_on(tmp_path, theme="tltui-dark"), terminal_size=size, run_before=settle)
