"""The layer tree, driven by keys."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from folded_runs import a_look, an_epoch, through_a_log
from networks import network, resnet18
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.config import layer_tree
from engine.runs.events import WeightsReport
from engine.runs.state import RunState, fold_all
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import COLUMNS, LayerFacts, LayerStats, column_text, percent, short
from tltui.freeze_plan.layer_index import LayerIndex, LayerRow
from tltui.freeze_plan.weight_origins import expected_origins, reported_origins
from tltui.plotting.panels import CHANGE, View, panel_chart
from tltui.plotting.run_series import RunSeries
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.layer_rows import LayerRows
from tltui.widgets.layer_tree import LayerTree

HEAD_ONLY = ["freeze *", "train head"]


class TreeApp(App[None]):
    """One layer tree, and what it said."""

    def __init__(self, model: layer_tree.LayerTree, rules: list[str], glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.editor = PlanEditor(model, rules)
        self.layers = LayerTree(glyphs)
        self.plans: list[list[str]] = []
        self.refusals: list[str] = []
        self.highlighted: list[tuple[str, str]] = []
        self.titles: list[str] = []

    def compose(self) -> ComposeResult:
        self.layers.show(self.editor)
        yield self.layers

    def on_mount(self) -> None:
        self.layers.focus()

    def on_layer_tree_plan_changed(self, message: LayerTree.PlanChanged) -> None:
        self.plans.append(message.rules)

    def on_layer_tree_refused(self, message: LayerTree.Refused) -> None:
        self.refusals.append(message.reason)

    def on_layer_tree_highlighted(self, message: LayerTree.Highlighted) -> None:
        self.highlighted.append((message.path, message.why))

    def on_layer_tree_column_shown(self, message: LayerTree.ColumnShown) -> None:
        self.titles.append(message.title)

    def lines(self) -> list[str]:
        """The tree as one sees it, without what is empty."""
        rows = self.query_one(LayerRows)
        return [line.rstrip() for y in range(rows.size.height) if (line := rows.render_line(y).text).strip()]

    def foot(self) -> str:
        """The last line of the widget."""
        widget = self.layers
        strips = self.screen._compositor.render_strips()
        return strips[widget.region.bottom - 1].text.strip()


def drive(
    test: Callable[[TreeApp, Pilot[None]], Awaitable[None]],
    model: layer_tree.LayerTree | None = None,
    rules: list[str] = HEAD_ONLY,
    size: tuple[int, int] = (60, 24),
    glyphs: Glyphs = UNICODE,
) -> None:
    async def main() -> None:
        app = TreeApp(model or resnet18(), rules, glyphs)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await test(app, pilot)

    asyncio.run(main())


def test_each_row_says_state_name_type_shape_and_parameters():
    async def test(app: TreeApp, _pilot: Pilot[None]) -> None:
        lines = app.lines()
        assert lines[0].split() == ["▾", "◐", "resnet18", "ResNet", "10", "11.2", "M"]
        assert lines[1].split() == ["○", "conv1", "Conv2d", "64×112×112", "9.4", "k"]
        assert lines[3].split() == ["relu", "ReLU", "64×112×112"]
        assert lines[5].split() == ["▸", "○", "layer1", "2", "×", "BasicBlock", "64×56×56", "148", "k"]
        assert lines[-1].split() == ["●", "fc", "Linear", "→", "10", "new", "5.1", "k"]

    drive(test, size=(60, 14))


def test_as_many_levels_are_open_as_there_is_room_for():
    async def low(app: TreeApp, _pilot: Pilot[None]) -> None:
        assert len(app.lines()) == 11

    async def high(app: TreeApp, _pilot: Pilot[None]) -> None:
        assert len(app.lines()) == 19

    drive(low, size=(60, 12))
    drive(high, size=(60, 30))


@pytest.mark.parametrize("width", [38, 46, 60, 80, 100])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_columns_line_up_and_nothing_is_wider_than_the_tree(width: int, glyphs: Glyphs):
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("e")
        rows = app.query_one(LayerRows)
        texts = [rows.render_line(y).text for y in range(rows.size.height)]
        ends = {cell_len(text.rstrip()) for text in texts if text.rstrip()[-1:] in ("k", "M")}
        assert len(ends) == 1
        assert all(cell_len(text) == rows.size.width for text in texts)
        assert rows.virtual_size.width <= rows.size.width
        assert ends.pop() < rows.size.width

    drive(test, size=(width, 70), glyphs=glyphs)


def test_a_key_freezes_and_trains_the_layer_under_the_cursor():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("end", "up", "up", "space")
        assert app.plans == [["freeze *", "train layer4", "train head"]]
        assert app.lines()[8].split()[:3] == ["▸", "●", "layer4"]
        assert app.highlighted[-1] == ("layer4", "train layer4")
        await pilot.press("space")
        assert app.plans[-1] == HEAD_ONLY
        assert app.highlighted[-1] == ("layer4", "freeze *")

    drive(test, size=(60, 14))


def test_presets_up_to_here_and_undo_are_keys_too():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("a")
        assert app.plans[-1] == ["train *"]
        await pilot.press("end", "up", "up", "f")
        assert app.plans[-1] == ["freeze *", "train layer4", "train head"]
        await pilot.press("2")
        assert app.plans[-1] == ["freeze *", "train layer3", "train layer4", "train head"]
        await pilot.press("h")
        assert app.plans[-1] == HEAD_ONLY
        await pilot.press("u", "u")
        assert app.plans[-1] == ["freeze *", "train layer4", "train head"]
        await pilot.press("U")
        assert app.plans[-1] == ["freeze *", "train layer3", "train layer4", "train head"]
        await pilot.press("m")
        assert app.plans[-1] == ["freeze *", "train norms", "train head"]
        await pilot.press("B")
        assert app.plans[-1] == ["freeze *", "train *.bias", "train head"]
        assert not app.refusals

    drive(test, size=(60, 14))


def test_what_can_not_be_done_is_refused_with_a_reason_and_changes_nothing():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("end", "space", "u", "h")
        assert app.plans == []
        assert [reason.split(";")[0] for reason in app.refusals] == [
            "this would freeze every layer",
            "there is nothing to undo",
            "Only the head is trainable already",
        ]

    drive(test)


def test_the_foot_says_what_the_layer_does_and_by_which_rule():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        assert app.foot() == "resnet18 · partly trainable · freeze *, train head"
        await pilot.press("down")
        assert app.foot() == "conv1 · frozen · freeze *"
        await pilot.press("space")
        assert app.foot() == "conv1 · trainable · train conv1"
        await pilot.press("down", "down")
        assert app.foot() == "relu · no parameters"

    drive(test)


def test_the_foot_leaves_out_the_middle_of_a_name_rather_than_the_rule():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("e", "end", *["up"] * 9)
        assert app.layers.path == "layer4.0.downsample.0"
        assert app.foot() == "layer4.0…ample.0 · frozen · freeze *"

    drive(test, size=(38, 24))


def test_rows_that_the_engine_has_not_answered_yet_are_marked():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("1")
        app.layers.show(app.editor, app.editor.changed_since(HEAD_ONLY))
        await pilot.pause()
        assert [line.split()[2] for line in app.lines() if "◌" in line] == ["resnet18", "layer4"]
        app.layers.show(app.editor)
        await pilot.pause()
        assert "◌" not in "".join(app.lines())

    drive(test, size=(60, 14))


def test_right_and_left_open_and_close_and_move_between_levels():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press(*["down"] * 5, "right")
        assert app.layers.path == "layer1"
        await pilot.press("right")
        assert app.layers.path == "layer1.0"
        await pilot.press("left")
        assert app.layers.path == "layer1"
        await pilot.press("left")
        assert len(app.lines()) == 11
        await pilot.press("enter")
        assert len(app.lines()) == 13

    drive(test, size=(60, 15))


def test_all_layers_open_and_close_and_the_cursor_stays_on_something_visible():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("e", "end", "up", "up")
        assert app.layers.path == "layer4.1.bn2"
        await pilot.press("c")
        assert app.layers.path == "layer4"
        assert len(app.lines()) == 11

    drive(test, size=(60, 40))


def test_search_goes_to_what_has_the_words_and_on_to_the_next():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"downsample")
        assert app.layers.path == "layer2.0.downsample"
        assert app.foot().split() == ["/downsample", "1", "of", "3"]
        await pilot.press("enter", "n")
        assert app.layers.path == "layer3.0.downsample"
        await pilot.press("n", "n")
        assert app.layers.path == "layer2.0.downsample"
        await pilot.press("N")
        assert app.layers.path == "layer4.0.downsample"
        assert sum("downsample" in line for line in app.lines()) == 1
        await pilot.press("space")
        assert app.plans == [["freeze *", "train layer4.0.downsample", "train head"]]
        await pilot.press("escape")
        assert app.foot().startswith("layer4.0.downsample · trainable")
        assert app.layers.path == "layer4.0.downsample"

    drive(test, size=(70, 20))


def test_letters_typed_into_the_search_are_no_commands_and_nothing_found_is_said():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"aha 123")
        assert app.plans == []
        assert app.foot().split() == ["/aha", "123", "no", "match"]
        assert app.layers.path == ""
        await pilot.press("enter")
        assert isinstance(app.focused, LayerRows)
        assert app.foot().startswith("resnet18")

    drive(test)


def test_a_search_that_is_given_up_leads_back_to_where_it_began():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "slash", *"layer4.1.conv2")
        assert app.layers.path == "layer4.1.conv2"
        await pilot.press("escape")
        assert app.layers.path == "conv1"
        assert len(app.lines()) == 11

    drive(test, size=(60, 14))


def test_a_key_given_to_another_action_does_nothing_else():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        app.set_keymap({"layers.toggle": "x"})
        await pilot.press(*["down"] * 5, "space")
        assert app.plans == []
        assert len(app.lines()) == 11
        await pilot.press("x")
        assert app.plans == [["freeze *", "train layer1", "train head"]]

    drive(test, size=(60, 13))


def test_every_key_has_an_id_and_a_description():
    for widget in (LayerTree, LayerRows):
        for binding in widget.BINDINGS:
            assert not isinstance(binding, tuple)
            assert binding.id
            assert binding.description


def test_another_network_takes_the_place_of_the_first():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("end")
        other = PlanEditor(network({"stem": {"w": [4]}, "fc": {"w": [3]}}, ["fc"]), HEAD_ONLY)
        app.layers.show(other)
        await pilot.pause()
        assert [line.split()[-3:] for line in app.lines()] == [
            ["Block", "8×4×4", "7"],
            ["Conv2d", "8×4×4", "4"],
            ["4", "new", "3"],
        ]
        await pilot.press("down", "space")
        assert other.rules == ["train *"]

    drive(test)


def test_names_with_markup_or_control_characters_are_shown_as_text():
    model = network({"[red]a\x1b[31m": {"w": [4]}, "fc": {"w": [3]}}, ["fc"])

    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        assert "[red]a\\x1b[31m" in app.lines()[1]
        assert "[red]a\\x1b[31m" in app.foot()
        await pilot.press("space")
        assert app.layers.path in app.editor.network.rows
        assert app.editor.state("[red]a\x1b[31m") == "trainable"

    drive(test, model=model)


def test_resizing_keeps_what_is_open_and_where_the_cursor_is():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "down", "down", "down", "right", "right")
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert app.layers.path == "layer1.0"
        assert len(app.lines()) == 13
        assert max(map(len, app.lines())) <= 100

    drive(test, size=(40, 15))


def test_a_click_goes_to_a_layer_and_one_on_its_sign_opens_it():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        await pilot.click(LayerRows, offset=(12, 6))
        assert app.layers.path == "layer2"
        assert len(app.lines()) == 11
        await pilot.click(LayerRows, offset=(2, 5))
        assert app.layers.path == "layer1"
        assert len(app.lines()) == 13

    drive(test, size=(60, 15))


LAST_STAGE = ["freeze *", "train layer4", "train head"]


def stats(*, unchanged: bool = True, size: float = 1.0) -> LayerStats:
    """Statistics of a run whose frozen layers were verified to be unchanged, or not."""
    epoch = an_epoch(1, 40, 0.5)
    epoch.frozen_unchanged = unchanged
    state: RunState = fold_all(through_a_log([a_look(40, 1, size), epoch]))
    assert state.layers
    return LayerStats(state, state.layers)


@pytest.mark.parametrize("width", [38, 60, 80, 120])
def test_a_key_switches_the_last_column_to_statistics_of_the_run(width: int):
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        parameters = app.lines()
        await pilot.press("v")
        assert app.lines() == parameters, "before a run's first statistics there is one column"
        app.layers.show_stats(stats())
        columns = []
        for _ in range(4):
            await pilot.press("v")
            columns.append([line.split()[-1] for line in app.lines()])
            assert all(cell_len(line) <= width for line in app.lines())
        change, gradient, update, dead = columns
        # the network, conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, fc
        assert [change[at] for at in (0, 1, 2, 5, 6, 7, 8, 10)] == ["13%", "0", "0", "0", "0", "5%", "0.88%", "25%"]
        assert [gradient[at] for at in (0, 1, 5, 7, 8, 10)] == ["2.1", "0", "0", "0", "0.5", "2"]
        assert [update[at] for at in (1, 7, 8, 10)] == ["0", "0", "8.8e-5", "5.0e-4"]
        assert [dead[at] for at in (0, 8)] == ["12%", "12%"]
        assert "%" not in "".join(dead[1:8])
        assert not any(cell in ("0", "0%") for cell in (*change[3:5], *gradient[3:5]))
        await pilot.press("v")
        assert app.lines() == parameters
        assert app.titles[1:5] == [
            "weight change since the start, step 40",
            "gradient norm, step 40",
            "update / weights, step 40",
            "dead units, step 40",
        ]

    drive(test, rules=LAST_STAGE, size=(width, 14))


def test_what_is_frozen_shows_zero_only_where_it_is_proven():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        app.layers.show_stats(stats(unchanged=False))
        await pilot.press("v")
        assert not app.lines()[1].endswith(" 0")
        app.layers.show_stats(stats())
        assert app.lines()[1].endswith(" 0")
        app.layers.show(app.editor, {"conv1"})
        assert " 0 " not in app.lines()[1], "the engine has not frozen it yet"

    drive(test, rules=LAST_STAGE, size=(60, 14))


def texts(stats: LayerStats, path: str, *, frozen: bool) -> list[str]:
    """What the measured columns say of a layer."""
    row = LayerRow(path, path.rpartition(".")[2], "", 1, "ReLU", (), 0, in_head=False)
    measured = [column for column in COLUMNS if column.needs == "statistics"]
    return [column_text(column, row, LayerFacts(stats), frozen=frozen) for column in measured]


def test_a_column_shows_where_initial_weights_come_from_and_goes_with_that_knowledge():
    report = WeightsReport(
        source="weights.pth",
        loaded=100,
        adapted=["conv1.weight"],
        missing=["layer2.0.conv1.weight", "layer3.0.bn1.running_mean", "of.another.network"],
        head_classes=0,
    )

    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        def last(count: int = 1) -> list[str]:
            return [" ".join(line.split()[-count:]) for line in app.lines()]

        parameters = app.lines()
        app.layers.show_origins(reported_origins(app.editor.network, report), reported=True)
        await pilot.press("v")
        # the network, conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, fc
        assert [last(2)[at] for at in (0, 6, 7)] == ["part random"] * 3
        assert [last()[at] for at in (1, 2, 5, 8, 10)] == ["adapted", "loaded", "loaded", "loaded", "random"]
        assert all(cell_len(line) <= 60 for line in app.lines())
        assert app.titles[-1] == "initial weights"
        app.layers.show_origins({}, reported=False)
        assert app.lines() == parameters

    drive(test, rules=LAST_STAGE, size=(60, 14))


def test_a_draft_names_the_weights_of_the_layer_under_the_cursor_as_far_as_they_are_known():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        for weights, first, head in (("none", "random", "random"), ("default", "loaded", "random")):
            app.layers.show_origins(expected_origins(app.editor.network, weights), reported=False)
            for key, path, origin in (("home", "resnet18", None), ("down", "conv1", first), ("end", "fc", head)):
                await pilot.press(key)
                assert app.foot().startswith(path)
                assert origin is None or app.foot().endswith(f"weights {origin}"), app.foot()
        app.layers.show_origins(expected_origins(app.editor.network, "weights.pth"), reported=False)
        assert "weights" not in app.foot(), "what a file holds is known once the run has read it"

    drive(test, rules=LAST_STAGE, size=(80, 14))


@pytest.mark.parametrize(("matched", "origin"), [(10, "loaded"), (4, "part random"), (0, "random")])
def test_a_head_is_loaded_as_far_as_its_classes_were_matched(matched: int, origin: str):
    index = LayerIndex(resnet18())
    report = WeightsReport(source="run", loaded=100, resampled=["layer1.0.conv1.weight"], head_classes=matched)
    origins = reported_origins(index, report)
    assert origins["fc"] == origin
    assert origins["layer1.0"] == "resampled"


def test_an_activation_has_dead_units_and_nothing_else():
    assert texts(stats(), "layer4.0.relu", frozen=False) == ["", "", "", "25%"]
    assert texts(stats(), "layer4.0.relu", frozen=True) == ["0", "0", "0", "25%"]
    assert texts(stats(), "layer2", frozen=False) == ["", "", "", ""]


def test_statistics_follow_the_run_while_they_are_shown():
    async def test(app: TreeApp, pilot: Pilot[None]) -> None:
        app.layers.show_stats(stats())
        await pilot.press("v")
        app.layers.show_stats(stats(size=2.0))
        assert app.lines()[-1].endswith("50%")

    drive(test, rules=LAST_STAGE, size=(60, 14))


def test_statistics_have_two_digits_and_only_nothing_is_zero():
    assert [percent(x) for x in (0.0, 1e-9, 0.000123, 0.0345, 0.997, 12.5)] == [
        "0", "<.001%", "0.012%", "3.5%", "100%", "1250%",
    ]  # fmt: skip
    assert [short(x) for x in (0.0, 1e-9, 0.00083, 0.0123, 12.34, 4567.0, math.inf)] == [
        "0", "1.0e-9", "8.3e-4", "0.012", "12", "4.6e3", "inf",
    ]  # fmt: skip


def test_a_log_from_elsewhere_may_hold_any_number_and_any_path():
    state = fold_all(through_a_log([a_look(40, 1, 1e300), a_look(80, 2)]))
    assert state.layers
    state.layers.layers["a." * 100_000] = state.layers.layers["fc"]
    assert texts(LayerStats(state, state.layers), "a", frozen=False)[0] == "25%"
    huge = fold_all(through_a_log([a_look(40, 1, 1e305)]))
    assert huge.layers
    assert all(texts(LayerStats(huge, huge.layers), "", frozen=False)[:2])
    assert RunSeries(huge).weight_changes()
    assert panel_chart(CHANGE, RunSeries(huge), View(), 80, 12) is None
