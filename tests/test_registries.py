"""Each registry takes a new entry in one place: the entry then appears everywhere that users meet its kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.color import Color

from engine.config.layer_tree import read_layer_tree
from engine.runs.events import LayerFigures, Layers
from engine.runs.state import RunState
from tltui.app.app import TltuiApp
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import COLUMNS, LayerColumn, LayerStats
from tltui.manual_reference.blocks import BLOCKS
from tltui.widgets.layer_rows import LayerRows
from tltui.widgets.layer_tree import LayerTree

THEMES = Path(__file__).parents[1] / "themes"


RESNET18 = Path(__file__).parent / "ui/data/resnet18.json"


class TreeApp(App[None]):
    """The layer tree of a network by itself, and the titles of its last column so far."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = LayerTree()
        self.titles: list[str] = []

    def compose(self) -> ComposeResult:
        self.layers.show(PlanEditor(read_layer_tree(RESNET18), ["freeze *", "train head"]))
        yield self.layers

    def on_mount(self) -> None:
        self.layers.focus()

    def on_layer_tree_column_shown(self, message: LayerTree.ColumnShown) -> None:
        self.titles.append(message.title)

    def first_layer(self) -> str:
        return self.query_one(LayerRows).render_line(1).text.rstrip()


@pytest.fixture
def depth_column() -> Iterator[None]:
    column = LayerColumn("depth", "levels above the layer", lambda cell: f"level {cell.row.depth}", measured=False)
    COLUMNS.append(column)
    yield
    COLUMNS.remove(column)


@pytest.mark.usefixtures("depth_column")
def test_a_column_of_the_layer_tree_is_one_entry():
    async def main() -> None:
        app = TreeApp()
        async with app.run_test(size=(60, 14)) as pilot:
            await pilot.press("v")
            assert app.first_layer().endswith("level 1"), "a draft has the columns that no run has to measure"
            measured = Layers(40, 1, {"fc": LayerFigures(1.0, 1.0, 0.5, 0.1, 0.01)}, {}, {})
            app.layers.show_stats(LayerStats(RunState(), measured))
            await pilot.press("v", "v")
            assert app.titles[-1] == "weight change since the start, step 40"
            await pilot.press("v", "v", "v", "v")
            assert app.titles[-1] == "depth"
            assert app.first_layer().endswith("level 1")

    asyncio.run(main())
    assert "- depth: levels above the layer" in BLOCKS["layer-columns"]()


def test_a_theme_is_one_file(tmp_path: Path):
    themes = tmp_path / "config" / "themes"
    themes.mkdir(parents=True)
    dark = (THEMES / "dark.toml").read_text()
    (themes / "sea.toml").write_text(dark.replace("tltui-dark", "sea").replace("#14161b", "#001122"))

    async def main() -> None:
        app = TltuiApp(tmp_path / "runs", config_dir=tmp_path / "config", theme="sea")
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert app.theme == "sea"
            assert app.screen.styles.background == Color.parse("#001122")

    asyncio.run(main())
