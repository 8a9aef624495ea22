"""One entry in a registry is all that a new choice needs: it appears wherever a user can choose."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from textual.app import App, ComposeResult
from textual.color import Color

from engine.compute.task import Labelled, open_criterion, open_task
from engine.config.data_sources import DATA_SOURCES, DataSourceEntry
from engine.config.layer_tree import read_layer_tree
from engine.config.messages import allowed
from engine.config.optimizers import OPTIMIZERS, OptimizerEntry
from engine.config.schedules import SCHEDULES, ScheduleEntry
from engine.config.schema import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig, settings
from engine.config.tasks import TASKS, TaskEntry, TaskSpec
from engine.config.toml_io import from_tables, load, to_toml
from engine.data.source import Sample, Source
from engine.data.sources import open_source
from engine.errors import InputError
from engine.experiments.sweep.presets import PRESETS
from engine.runs.event_log import EventTail
from engine.runs.events import DataReady, LayerNorms, Layers
from engine.runs.folder import data_label
from engine.runs.state import RunState
from engine.tasks.single import SingleLabel
from engine.training import lr_schedules
from engine.training.loop import fit
from engine.training.optimizers import Depth, build
from tests.conftest import Sessions
from tltui.app.app import TltuiApp
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import COLUMNS, LayerColumn, LayerStats
from tltui.manual_reference.blocks import BLOCKS
from tltui.settings.draft import SettingsDraft
from tltui.widgets.config_form import ConfigForm
from tltui.widgets.layer_rows import LayerRows
from tltui.widgets.layer_tree import LayerTree

DIGITS = {"data": {"source": "digits"}}


class Lion(torch.optim.SGD):
    """An optimizer from elsewhere."""


class UpsideDown(SingleLabel):
    """A task from elsewhere: the last class is the first."""

    @property
    def outputs(self) -> list[str]:
        return self.spec.classes[::-1]

    def encode(self, samples: Sequence[Labelled]) -> torch.Tensor:
        return len(self.outputs) - 1 - super().encode(samples)


def opened(config: DataConfig) -> Source:
    """A dataset from elsewhere: two images."""
    samples = [Sample(f"{config.name}-{index}", index, "") for index in range(2)]
    return Source(["cat", "dog"], samples, lambda _: Image.new("RGB", (8, 8)))


LION = OptimizerEntry("tests.test_registries:Lion", 0, ("momentum",), has_fused=False)
LINEAR = ScheduleEntry("to 0 on a line", lambda position: 1 - position)
BUCKET = DataSourceEntry("a bucket", "tests.test_registries:opened", "name", ("name",), "the bucket's name")
UPSIDE_DOWN = TaskEntry(
    "the least probable class",
    "tests.test_registries:UpsideDown",
    score="accuracy",
    curve="accuracy",
    noun="class",
    losses={"cross_entropy": "engine.compute.loss:cross_entropy"},
)
ADDED: dict[str, tuple[MutableMapping[str, Any], str, Any]] = {
    "optimizer.name": (OPTIMIZERS, "lion", LION),
    "schedule.name": (SCHEDULES, "linear", LINEAR),
    "data.source": (DATA_SOURCES, "bucket", BUCKET),
    "data.task": (TASKS, "upside_down", UPSIDE_DOWN),
}


@pytest.fixture(params=ADDED)
def added(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """(setting, name) of an entry that is in its registry for one test."""
    key = request.param
    registry, name, entry = ADDED[key]
    monkeypatch.setitem(registry, name, entry)
    return key, name


def form_choices(key: str) -> list[str]:
    """What the form offers for a setting, by going through it with the keyboard."""

    class FormApp(App[None]):
        def compose(self) -> ComposeResult:
            yield ConfigForm(DIGITS)

    async def main() -> list[str]:
        app = FormApp()
        async with app.run_test(size=(80, 60)) as pilot:
            form = app.query_one(ConfigForm)
            form.focus_setting(key)
            found = []
            for _ in range(8):
                await pilot.press("right")
                found.append(str(form.draft[key]))
            return found

    return asyncio.run(main())


def test_an_entry_is_accepted_in_a_file_and_by_set(added: tuple[str, str], tmp_path: Path):
    key, name = added
    config = from_tables({"data": {"source": "digits", "name": "photos"}}, {key: name})
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config))
    assert load(path).model_dump() == config.model_dump()
    section, setting = key.split(".")
    assert config.model_dump()[section][setting] == name


def test_an_entry_is_named_among_the_choices(added: tuple[str, str]):
    key, name = added
    assert allowed(dict(settings())[key]).endswith(f" | {name}")
    with pytest.raises(InputError, match=rf"{key} = 'nothing' can't be used: it takes .* \| {name}"):
        from_tables(DIGITS, {key: "nothing"})


def test_an_entry_can_be_chosen_in_the_form(added: tuple[str, str]):
    key, name = added
    assert name in form_choices(key)


def test_without_the_entry_its_name_is_refused():
    with pytest.raises(InputError, match=r"optimizer\.name = 'lion' can't be used"):
        from_tables(DIGITS, {"optimizer.name": "lion"})


def test_an_optimizer_is_built_with_its_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(OPTIMIZERS, "lion", LION)
    made = build(
        OptimizerConfig(name="lion", momentum=0.5),
        {"w": torch.nn.Parameter(torch.ones(2, 2))},
        {"w": Depth("head", 0)},
    )
    assert isinstance(made, Lion)
    assert made.defaults["momentum"] == 0.5
    draft = SettingsDraft({**DIGITS, "optimizer": {"name": "lion"}})
    assert draft.has_effect("optimizer.momentum")
    base = RunConfig(data=DataConfig(source="digits"))
    assert ["lion", 0.0] in PRESETS["optimizers"].space(base)["optimizer.name, optimizer.momentum"]


def test_a_schedule_moves_the_rate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SCHEDULES, "linear", LINEAR)
    factors = [lr_schedules.factor(ScheduleConfig(name="linear"), step, 5, 2) for step in range(10)]
    assert factors == pytest.approx([1 - step / 10 for step in range(10)])


def test_a_task_is_trained(monkeypatch: pytest.MonkeyPatch, session: Sessions, config: Callable[..., RunConfig]):
    monkeypatch.setitem(TASKS, "upside_down", UPSIDE_DOWN)
    run = session(config(data={"task": "upside_down"}, train={"epochs": 1}))
    fit(run)
    assert isinstance(run.data.task, UpsideDown)
    assert run.classifier.classes == ["red", "green", "blue"]
    assert run.epochs[-1].train_loss is not None
    ready = next(event for event in EventTail(run.context.folder).poll() if isinstance(event, DataReady))
    assert ready.task == "upside_down"


@pytest.mark.parametrize("name", TASKS)
def test_each_task_takes_mixed_targets_or_names_mixing_among_its_unused_settings(name: str):
    if {"train.mixup", "train.cutmix"} <= set(TASKS[name].unused_settings):
        return
    spec = TaskSpec(name, ["a", "b", "c"])
    mixed = torch.tensor([[0.3, 0.7, 0.0], [0.0, 0.5, 0.5]])
    criterion = open_criterion(spec, TrainConfig(), mixed, 0.0)
    loss = criterion(torch.zeros(2, len(open_task(spec).outputs)), mixed)
    assert loss.isfinite()
    assert loss.ndim == 0


def test_a_data_source_is_opened_and_labelled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(DATA_SOURCES, "bucket", BUCKET)
    config = from_tables({"data": {"source": "bucket", "name": "photos"}})
    assert open_source(config.data).classes == ["cat", "dog"]
    assert data_label(config) == "photos"
    assert not SettingsDraft(config.model_dump()).has_effect("data.path")
    with pytest.raises(InputError, match=r"data\.name is empty.*set data\.name to the bucket\'s name"):
        from_tables({"data": {"source": "bucket"}})


RECIPE = """
from engine.config import recipes
def last_then_all(stages, epochs, lr):
    return [{"epochs": epochs, "rules": ["train *"], "lr": lr / 2}]
recipes.READY_MADE["half"] = recipes.Recipe("everything at half the rate", last_then_all)
from tltui.cli.main import main
main()
"""


def test_a_recipe_is_offered_by_new(tmp_path: Path):
    def tltui(*arguments: str) -> str:
        command = [sys.executable, "-c", RECIPE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert "half: everything at half the rate" in " ".join(tltui("new", "--help").split())
    tltui("new", "--recipe", "half", "-o", "run.toml")
    (phase,) = load(tmp_path / "run.toml").recipe.phases
    assert phase.lr == pytest.approx(5e-4)


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
    column = LayerColumn("depth", "levels above the layer", lambda cell: f"level {cell.row.depth}", needs="nothing")
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
            measured = Layers(40, 1, {"fc": LayerNorms(1.0, 1.0, 0.5, 0.1, 0.01)}, {}, {})
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
