"""The learning-rate range test and linear probes in the app, with the real process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import torch
from app_runs import RESNET18, answering, app_on, notices, text_of, until
from networks import as_json, network
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from tests.conftest import make_weights
from tltui.app.app import TltuiApp
from tltui.engine_client.queries import EngineQueries
from tltui.screens.setup_pane import SetupPane
from tltui.screens.workbench import Workbench
from tltui.widgets.config_form import ConfigForm

Test = Callable[[TltuiApp, Pilot[int]], Awaitable[None]]


def drive(
    tmp_path: Path, draft: RunConfig, size: tuple[int, int], test: Test, queries: EngineQueries | None = None
) -> None:
    async def main() -> None:
        app = app_on(tmp_path, draft=draft, queries=queries or answering())
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            await test(app, pilot)

    asyncio.run(main())


def setting(app: TltuiApp, key: str) -> object:
    assert isinstance(app.screen, Workbench)
    return app.screen.query_one(ConfigForm).draft[key]


def test_a_test_shows_its_curve_and_one_key_takes_what_it_suggests(tmp_path: Path, config: Callable[..., RunConfig]):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        before = setting(app, "optimizer.lr")
        await pilot.press("l")
        await until(pilot, lambda: "esc cancel" in text_of(app))
        await pilot.press("enter")  # nothing to take yet: the process still imports what it needs
        await until(pilot, lambda: "learning-rate range test" in text_of(app), 60)
        await until(pilot, lambda: "enter apply" in text_of(app), 200)
        for size in ((80, 24), (120, 40)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: "Suggested: " in text_of(app))
            shown = text_of(app)
            assert all(words in shown for words in ("Head", "steepest", "minimum / 10", "optimizer.lr = "))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert setting(app, "optimizer.lr") != before
        assert f"optimizer.lr = {setting(app, 'optimizer.lr'):g}" in shown

    drive(tmp_path, config(optimizer={"lr": 0.7}), (80, 24), test)


def test_a_test_is_cancelled_with_a_key_and_its_process_is_gone(tmp_path: Path, config: Callable[..., RunConfig]):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "esc cancel" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert setting(app, "optimizer.lr") == 0.01
        await until(pilot, lambda: not list(app.workers))

    drive(tmp_path, config(), (80, 24), test)


def test_what_can_not_be_tested_is_said(tmp_path: Path, config: Callable[..., RunConfig]):
    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "no such folder" in text_of(app), 60)
        assert "esc close" in text_of(app)

    drive(tmp_path, config(data={"path": "/nowhere"}), (120, 40), test)


def test_probes_show_their_chart_and_advice_and_one_key_takes_what_is_advised(
    tmp_path: Path, config: Callable[..., RunConfig]
):
    weights = torch.load(make_weights(tmp_path / "weights.pt"))
    del weights["layer4.0.conv1.weight"]  # a warning
    torch.save(weights, tmp_path / "weights.pt")

    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "● layer1" in text_of(app))
        await pilot.press("g")
        await until(pilot, lambda: "esc cancel" in text_of(app))
        await pilot.press("enter")  # nothing to take yet: the process still imports what it needs
        await until(pilot, lambda: "1 missing" in notices(app), 200)
        await until(pilot, lambda: "esc keep settings" in text_of(app), 200)
        await pilot.press("end")
        await until(pilot, lambda: "Recommendation: train the last stages carefully" in text_of(app))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "24 of 24 training images" in text_of(app))
        shown = text_of(app)
        rules = ["freeze *", "train layer3", "train layer4", "train head"]
        assert all(
            words in shown for words in ("layer4", "LogME", "Recommendation", f"freeze.rules = {', '.join(rules)}")
        )
        await pilot.press("enter")
        await until(pilot, lambda: "○ layer1" in text_of(app) and "● layer3" in text_of(app))
        assert setting(app, "freeze.rules") == rules
        assert f"optimizer.lr = {setting(app, 'optimizer.lr'):g}" in shown
        assert setting(app, "data.augment") == "flip"
        await pilot.press("u")
        await until(pilot, lambda: "● layer1" in text_of(app))

    draft = config(model={"weights": str(tmp_path / "weights.pt")}, freeze={"rules": ["train *"]})
    drive(tmp_path, draft, (80, 24), test)


def two_networks(folder: Path) -> EngineQueries:
    """Queries that know ``resnet18`` and a network with other layers, ``other``."""
    layers = {"blocks": {name: {"weight": [8, 8]} for name in "01"}, "classifier": {"weight": [10, 8]}}
    (folder / "other.json").write_bytes(as_json(network(layers, ["classifier"], ["blocks"])))
    answer = "import sys; print(open(sys.argv[1 + (sys.argv[3] == 'other')]).read())"
    return EngineQueries((sys.executable, "-c", answer, str(RESNET18), str(folder / "other.json")))


def test_a_plan_that_comes_with_another_network_is_that_of_its_layers(tmp_path: Path):
    rules = ["freeze *", "train blocks.1", "train head"]
    other = from_tables({"data": {"source": "digits"}, "model": {"name": "other"}, "freeze": {"rules": rules}})

    async def test(app: TltuiApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "● layer4" in text_of(app))
        assert isinstance(app.screen, Workbench)
        app.screen.load_settings(other.model_dump())
        await until(pilot, lambda: "◐ blocks" in text_of(app))
        assert setting(app, "freeze.rules") == rules
        app.screen.query_one(SetupPane).change(
            {"model.name": "resnet18", "freeze.rules": ["freeze *", "train layer4", "train head"]}
        )
        await until(pilot, lambda: "● layer4" in text_of(app))
        assert "layer4" in str(setting(app, "freeze.rules"))

    draft = from_tables(
        {"data": {"source": "digits"}, "model": {"name": "resnet18"}, "freeze": {"rules": ["train layer4"]}}
    )
    drive(tmp_path, draft, (120, 40), test, two_networks(tmp_path))
