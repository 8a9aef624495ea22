"""Curves show what happened, at any length, and send only what changed."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from folded_runs import a_look, a_run, an_epoch, beginning, new_plan, through_a_log, training
from textual.app import App, ComposeResult
from textual.geometry import Region

from engine.runs import commands
from engine.runs import events as p
from engine.runs.state import RunState, fold, fold_all
from engine.runs.time_series import GROUPS, RECENT, Bucket, Series
from tltui.plotting import axes
from tltui.plotting.panels import ACCURACY, LOSS, RATE, View, panel_chart, visible_steps
from tltui.plotting.plan_changes import PlanChange, plan_changes
from tltui.plotting.plot import POINT, SCATTER
from tltui.plotting.run_series import RunSeries
from tltui.plotting.series_feed import smoothed
from tltui.text.glyphs import ASCII, UNICODE
from tltui.widgets.curves import Curves


class Watched(Curves):
    """Curves that remember which cells they asked to have drawn again."""

    def __init__(self, marker: str = "braille") -> None:
        super().__init__(marker=marker)
        self.asked: list[Region] = []

    def refresh(self, *regions: Region, **kwargs: bool) -> Watched:
        if hasattr(self, "asked"):
            self.asked += regions or [Region(0, 0, *self.size)]
        super().refresh(*regions, **kwargs)
        return self


class OneWidget(App[None]):
    def __init__(self, curves: Curves) -> None:
        super().__init__()
        self.curves = curves

    def compose(self) -> ComposeResult:
        yield self.curves


def lines(curves: Curves) -> list[str]:
    return [curves.render_line(y).text for y in range(curves.size.height)]


def shown(
    state: RunState, *keys: str, size: tuple[int, int] = (80, 24), marker: str = "braille", dark: bool = True
) -> list[str]:
    """The lines of the curves of ``state`` after some keys."""

    async def main() -> list[str]:
        app = OneWidget(Curves(marker=marker, glyphs=ASCII if marker == "ascii" else UNICODE))
        async with app.run_test(size=size) as pilot:
            app.theme = "textual-dark" if dark else "ansi-light"
            app.curves.focus()
            app.curves.show(state)
            await pilot.press(*keys)
            await pilot.pause()
            return lines(app.curves)

    return asyncio.run(main())


def test_buckets_keep_the_extremes_of_the_values():
    noise = random.Random(7)
    values = [noise.gauss(0, 1) for _ in range(5000)]
    series = Series()
    for start in range(0, 5000, 37):  # as they come in, in small parts
        series.extend(range(start, min(start + 37, 5000)), values[start : start + 37])
        series.buckets(0, 5000, 60)
    for left, right, count in ((0, 5000, 60), (0, 5000, 1), (1234, 1500, 40), (4000, 9000, 10)):
        width = (right - left) / count
        for bucket in series.buckets(left, right, count):
            start, end = left + bucket.at * width, left + (bucket.at + 1) * width
            inside = [value for at, value in enumerate(values) if start <= at < end or at == right == end]
            assert bucket.low == min(inside)
            assert bucket.high == max(inside)
            assert bucket.mean == pytest.approx(sum(inside) / len(inside))


@pytest.mark.parametrize("at_once", [1, 1000, 4096])
def test_a_long_series_stays_small_and_tells_the_truth_to_within_a_group(at_once: int):
    noise = random.Random(7)
    count = 5 * GROUPS + 7
    values = [noise.gauss(0, 1) for _ in range(count)]
    series = Series()
    for start in range(0, count, at_once):
        series.extend(range(start, min(start + at_once, count)), values[start : start + at_once])
    assert len(series.groups.xs) <= GROUPS
    assert len(series.ys) <= 2 * RECENT
    for bucket in series.buckets(0, count, 100):
        group = series.groups.size
        start, end = (math.ceil(edge * count / 100 / group) * group for edge in (bucket.at, bucket.at + 1))
        inside = values[start:end]
        assert (bucket.low, bucket.high) == (min(inside), max(inside))
        assert bucket.mean == pytest.approx(sum(inside) / len(inside))
    first = count - RECENT
    for bucket in series.buckets(first, first + 1000, 10):
        inside = values[first + 100 * bucket.at : first + 100 * (bucket.at + 1) + (bucket.at == 9)]
        assert (bucket.low, bucket.high) == (min(inside), max(inside))


def test_steps_of_a_long_series_are_taken_back_too():
    series = Series()
    count = 3 * GROUPS
    series.extend(range(1, count + 1), [9.0] * count)
    back = count - 1001
    series.extend(range(back, count + 1), [1.0] * (count + 1 - back))
    (whole,) = series.buckets(0, count, 1)
    assert whole.mean == pytest.approx((9 * (back - 1) + count + 1 - back) / count)
    assert {bucket.high for bucket in series.buckets(back, count, 20)} == {1.0}
    *before, _ = series.buckets(1, back - 1, 20)  # the last ends within a group
    assert {bucket.low for bucket in before} == {9.0}


def test_repeated_steps_replace_those_that_were_taken_back():
    series = Series()
    series.extend([1, 2, 3, 4, 5], [1, 1, 1, 9, 9])
    assert series.buckets(0, 10, 1)[0].high == 9
    series.extend([4, 5, 6], [2, 2, 2])
    assert list(series.xs) == [1, 2, 3, 4, 5, 6]
    assert series.buckets(0, 10, 1)[0].high == 2
    series.extend([7, 8, 6, 7], [3, 3, 4, 4])
    assert (list(series.xs[-3:]), list(series.ys[-3:])) == ([5, 6, 7], [2, 4, 4])


def test_the_moving_average_starts_at_the_first_value_and_follows():
    flat = [Bucket(at, at, 2.0, 2.0, 2.0) for at in range(5)]
    assert [value for _, value in smoothed(flat, 3)] == pytest.approx([2.0] * 5)
    jump = [Bucket(at, at, 0.0, 0.0, float(at >= 50)) for at in range(100)]
    values = dict(smoothed(jump, 5))
    assert values[49] < 0.01 < values[51] < 0.5 < values[60] < 1


def test_an_image_has_at_most_two_raw_points_a_column_and_the_extremes_among_them():
    events = [*beginning(50, 400), *training(range(1, 20_001), 400)]
    state, steps = fold_all(events), [event for event in events if isinstance(event, p.Step)]
    made = panel_chart(LOSS, RunSeries(state), View(), 80, 12)
    assert made is not None
    raw = next(curve for curve in made.curves if curve.look == SCATTER)
    assert len(raw.points) <= 2 * 80
    unit = (made.y.high - made.y.low) / (8 * 12)
    losses = [step.loss for step in steps if step.loss is not None]
    assert max(y for _, y in raw.points) == pytest.approx(max(losses), abs=unit)
    assert min(y for _, y in raw.points) == pytest.approx(min(losses), abs=unit)


def test_steps_without_a_finite_loss_leave_a_gap_and_are_named():
    events = [*beginning(1, 100), *training(range(1, 20), 100)]
    events.append(
        p.Step(step=20, epoch=1, loss=None, nonfinite="nan", lr={"head": 0.1}, grad_norm=None, images_per_second=1.0)
    )
    state = fold_all(through_a_log(events))
    assert len(state.steps.series("loss").ys) == 19
    assert "loss nan" in shown(state)[-1]


def test_the_axis_ends_with_the_plan_and_stands_still():
    state = a_run(done=41, steps_per_epoch=40, epochs=10)
    assert visible_steps(state, View()) == (0, 400)
    for event in training(range(42, 400), 40):
        fold(state, event)
        assert visible_steps(state, View()) == (0, 400)
    fold(state, p.CommandApplied(command=commands.Set(id="x", key="train.epochs", value=20), step=399))
    assert visible_steps(state, View()) == (0, 800)


def test_the_axis_spans_the_planned_run_from_the_first_step():
    state = a_run(done=30, steps_per_epoch=40, epochs=10)
    assert visible_steps(state, View()) == (0, 400)


def test_zoom_shows_whole_epochs_at_the_end():
    state = a_run(done=300, steps_per_epoch=40, epochs=10)
    assert visible_steps(state, View(epochs=3)) == (200, 320)
    assert visible_steps(state, View(epochs=100)) == (0, 320)


def test_phase_marks_stand_where_the_plan_changed():
    state = a_run()
    fold(state, p.CommandApplied(command=commands.Set(id="y", key="optimizer.lr", value=0.1), step=200))
    fold(
        state,
        p.CommandRejected(command=commands.Set(id="z", key="freeze.rules", value=[]), step=210, reason="nothing left"),
    )
    assert plan_changes(state) == [PlanChange(120, "train layer4")]
    screen = shown(state)
    assert sum("┊" in line for line in screen) > 8
    assert any("┊ train layer4" in line for line in screen)
    plan = commands.Set(id="c2", key="freeze.rules", value=["freeze *", "train layer3", "train layer4", "train head"])
    fold(state, p.CommandApplied(command=plan, step=200))
    assert plan_changes(state)[1] == PlanChange(200, "train layer3")


def test_loss_and_accuracy_can_be_read_in_sixty_columns_by_marks_alone():
    screen = shown(a_run(), size=(60, 18))
    assert all(len(line) == 60 for line in screen)
    assert screen[0].startswith("loss  ⠒⠒ train  ● val")
    assert any(line.startswith("accuracy  ⠒⠒ train  ● val  ◆ best") for line in screen)
    assert sum(line.count("●") for line in screen) >= 12
    assert any("epoch 0" in line and "10" in line for line in screen)
    assert screen[-1].startswith("step 300   loss 0.318, val 0.405   val accuracy 86.3%")


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (30, 6), (60, 20), (140, 40), (300, 100)])
def test_every_size_is_filled_exactly(size: tuple[int, int]):
    screen = shown(a_run(), "1", "3", "4", size=size)
    assert [len(line) for line in screen] == [size[0]] * size[1]


def test_ascii_markers_draw_with_ascii_alone():
    assert "".join(shown(a_run(), "3", "4", "l", "z", size=(140, 40), marker="ascii")).isascii()


@pytest.mark.parametrize("marker", ["braille", "hd", "dot", "ascii"])
def test_every_marker_draws(marker: str):
    assert any("train" in line for line in shown(a_run(), marker=marker, dark=False))


def test_keys_choose_panels_scale_smoothing_and_range():
    state = a_run()
    assert "smoothed 2%" in shown(state)[0]
    assert "smoothed 10%" in shown(state, "m")[0]
    assert "smoothed" not in shown(state, "m", "m")[0]
    assert "log" in shown(state, "l")[0]
    assert "last 10 epochs" in shown(state, "z")[0]
    assert "last epoch" in shown(state, "z", "z", "z")[0]
    assert "last" not in shown(state, "z", "w")[0]
    only_rates = shown(state, "3", "1", "2")
    assert only_rates[0].startswith("learning rate")
    assert any("backbone" in line for line in only_rates[:-1])
    assert not any(line.startswith("loss") for line in only_rates)
    assert shown(state, "2", "1")[0].startswith("loss"), "the last panel stays"


def test_without_a_step_one_sentence_says_so():
    screen = shown(fold_all(beginning(3, 40)))
    assert any("Curves appear with the first training step." in line for line in screen)


def test_only_cells_that_changed_are_drawn_again():
    async def main() -> None:
        state = a_run(done=300)
        curves = Watched()
        app = OneWidget(curves)
        async with app.run_test(size=(120, 40)) as pilot:
            curves.show(state)
            await pilot.pause()
            curves.asked.clear()
            curves.show(state)
            assert curves.asked == [], "nothing new, nothing sent"
            for event in training(range(301, 302), 40, seed=5):
                fold(state, event)
            curves.show(state)
            assert curves.asked
            assert all(region.height == 1 for region in curves.asked)
            assert sum(region.area for region in curves.asked) < 120 * 40 / 10

    asyncio.run(main())


def test_another_run_takes_the_place_of_the_first():
    async def main() -> None:
        app = OneWidget(Curves())
        async with app.run_test(size=(80, 24)) as pilot:
            app.curves.show(a_run(done=300))
            app.curves.show(a_run(done=80))
            await pilot.pause()
            assert lines(app.curves)[-1].startswith("step 80 ")
            assert app.curves.summary.startswith("step 80 ")

    asyncio.run(main())


def test_hidden_curves_draw_nothing_until_they_are_seen():
    async def main() -> None:
        curves = Watched()
        app = OneWidget(curves)
        async with app.run_test(size=(80, 24)) as pilot:
            curves.display = False
            await pilot.pause()
            curves.asked.clear()
            curves.show(a_run())
            assert curves.asked == []
            curves.display = True
            await pilot.pause()
            assert lines(curves)[-1].startswith("step 300 ")

    asyncio.run(main())


def test_names_of_groups_and_rules_are_shown_as_text():
    events = [*beginning(2, 40), *training(range(1, 60), 40, groups=("head", "[red]\x1b[31mx[/]"))]
    events.append(new_plan(50, ["train \x1b]0;title\x07[b]"]))
    screen = "\n".join(shown(fold_all(through_a_log(events)), "3"))
    assert "\x1b" not in screen
    assert "\x07" not in screen
    assert "[red]" in screen


def test_many_rates_are_shown_by_the_fastest_and_the_slowest():
    groups = ("head", "layer4", "layer3", "layer2", "stem")
    state = fold_all([*beginning(2, 40), *training(range(1, 60), 40, groups=groups)])
    assert list(RunSeries(state).learning_rates()) == ["head", "layer4", "stem"]
    made = panel_chart(RATE, RunSeries(state), View(log=True), 80, 12)
    assert made is not None
    assert [label.text for label in made.labels] == ["head", "layer4", "stem"]


def test_accuracy_marks_the_best_epoch():
    events = [*beginning(3, 40), *training(range(1, 41), 40), an_epoch(2, 80, 0.2), an_epoch(3, 120, 0.9)]
    made = panel_chart(ACCURACY, RunSeries(fold_all(events)), View(), 80, 12)
    assert made is not None
    best = made.curves[-1]
    assert (best.look, best.points[0][0]) == ("best", 80)
    assert sum(curve.look == POINT for curve in made.curves) == 1


@pytest.mark.parametrize(
    ("axis", "low", "high", "labels"),
    [
        (axes.linear(0.1, 3.4, 3), 0, 4, ["0", "2", "4"]),
        (axes.linear(1, 1, 3), 0.9, 1.1, ["0.9", "1.0", "1.1"]),
        (axes.linear(99, 101, 1), 99, 101, ["99", "100", "101"]),
        (axes.linear(-0.2, 0.4, 1), -0.5, 0.5, ["-0.5", "0", "0.5"]),
        (axes.percent(0.881, 0.894, 3), 0.8, 0.9, ["80%", "90%"]),
        (axes.percent(0.2, 0.98, 4), 0, 1, ["0%", "25%", "50%", "75%", "100%"]),
        (axes.linear(0.0008, 0.0012, 4), 0.0008, 0.0012, ["8e-4", "9e-4", "10e-4", "11e-4", "12e-4"]),
    ],
)
def test_axes_end_at_round_numbers(axis: axes.Axis, low: float, high: float, labels: list[str]):
    assert (axis.low, axis.high) == pytest.approx((low, high))
    assert [label for _, label in axis.ticks] == labels


@pytest.mark.parametrize("rows", range(3, 30))
def test_ticks_stand_on_rows_that_are_equally_far_apart(rows: int):
    axis = axes.even(axes.linear(0.1, 3.4, max(1, (rows - 1) // 2)), rows)
    row_height = (axis.high - axis.low) / (rows - 1)
    places = [(at - axis.low) / row_height for at, _ in axis.ticks]
    assert places == pytest.approx([round(place) for place in places])


def test_a_panel_that_is_asked_for_is_shown_even_where_another_has_to_go():
    state = a_run(done=60, steps_per_epoch=20, epochs=5)
    assert "gradient norm" in "".join(shown(state, "3", "4", size=(80, 18)))
    assert "loss" not in "".join(line[:8] for line in shown(state, "3", "4", size=(80, 18)))
    assert "loss" in "".join(line[:8] for line in shown(state, "3", "4", "1", size=(80, 18)))


def test_the_change_of_weights_is_a_line_for_each_stage():
    looks = [a_look(step, step // 40, step / 200) for step in (40, 80, 120, 160, 200)]
    state = fold_all([*beginning(10, 40), *training(range(1, 201), 40), *looks])
    assert next(series.ys for series in RunSeries(state).weight_changes().values()) == pytest.approx(
        [0.05, 0.1, 0.15, 0.2, 0.25]
    )
    screen = shown(state, "5", "1", "2")
    assert screen[0].startswith("weight change")
    assert all(any(stage in line for line in screen) for stage in ("head", "layer3", "layer4"))
    assert "after the first epoch" in "".join(shown(a_run(), "5", "1", "2"))


def test_forgetting_is_a_line_for_each_stage_and_a_point_for_each_share_of_answers():
    told = [
        p.Forgetting(
            epoch=epoch, step=40 * epoch, images=128, cka={"layer4": 1 - epoch / 10, "layer3": 0.99}, agreement=0.3
        )
        for epoch in range(1, 6)
    ]
    state = fold_all([*beginning(10, 40), *training(range(1, 201), 40), *told])
    assert RunSeries(state).similarities()["layer4"].ys == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    screen = shown(state, "6", "1", "2")
    assert screen[0].startswith("forgetting  ⠒⠒ CKA  ● same top-1")
    assert all(any(stage in line for line in screen) for stage in ("layer3", "layer4"))
    assert sum(line.count("●") for line in screen[1:]) == 5


def test_a_name_at_the_end_of_a_run_is_not_cut_off():
    looks = [a_look(step, step // 40) for step in (40, 400)]
    state = fold_all([*beginning(10, 40), *training(range(1, 401), 40), *looks])
    assert all(any(stage in line for line in shown(state, "5", "1", "2")) for stage in ("head", "layer3", "layer4"))


def in_phases(done: int = 300, *, epochs: tuple[int, ...] = (2, 4, 4), begun: int = 3) -> RunState:
    """A run of a recipe whose phases have so many ``epochs`` of 40 steps, of which so many have begun."""
    plans = [["freeze *", "train head"], ["freeze *", "train layer4", "train head"], ["train *"]]
    counts = p.ParameterCounts(total=100, trainable=10, frozen=90)
    starts = [sum(epochs[:at]) for at in range(len(epochs))]
    events: list[p.AnyEvent] = [*beginning(sum(epochs), 40), *training(range(1, done + 1), 40)]
    for number, (length, start, rules) in enumerate(zip(epochs, starts, plans, strict=False), 1):
        if number <= begun:
            phase = p.Phase(
                number=number, phases=len(epochs), epochs=length, step=40 * start, epoch=start, rules=rules,
                lr=0.01, backbone_lr_factor=0.1, layer_decay=1.0, parameters=counts,
            )  # fmt: skip
            at = next((at for at, one in enumerate(events) if isinstance(one, p.Step) and one.step > 40 * start), 3)
            events.insert(at, phase)
    return fold_all(through_a_log(events))


@pytest.mark.parametrize(("marker", "line"), [("braille", "─━┊"), ("ascii", "-=:")])
def test_phases_of_a_recipe_stand_above_the_curves_and_behind_them(marker: str, line: str):
    thin, thick, mark = line
    state = in_phases()
    assert plan_changes(state) == [
        PlanChange(0, "train head", 1),
        PlanChange(80, "train layer4", 2),
        PlanChange(240, "train *", 3),
    ]
    screen = shown(state, marker=marker)
    names = screen[1]
    assert f"{thin} 1 train head {mark} 2 train layer4 {thick}{thick}" in names
    assert f"{mark} 3 train * {thin}{thin}" in names
    at = names.index(mark)
    assert sum(row[at] == mark for row in screen[2:12]) > 5  # the mark goes on below
    assert names in screen[2:]  # above the accuracy, too


def test_a_phase_that_has_not_begun_has_no_band_yet():
    names = shown(in_phases(60, begun=1))[1]
    assert names.rstrip() == f"{' ' * 6}─ 1 train head"  # a fifth of the run is no longer than its name


def test_many_short_phases_are_distinguished_by_their_numbers():
    state = in_phases(200, epochs=(1, 1, 1), begun=2)
    fold(state, p.CommandApplied(command=commands.Set(id="x", key="train.epochs", value=40), step=199))
    names = shown(state)[1]
    assert "1┊2" in names
    assert [len(row) for row in shown(state)] == [80] * 24


def test_every_other_phase_has_another_background():
    async def main() -> None:
        curves = Curves()
        async with OneWidget(curves).run_test(size=(80, 24)) as pilot:
            curves.show(in_phases())
            await pilot.pause()
            row = curves.render_line(5)
            colours = {}
            at = 0
            for segment in row:
                for _ in segment.text:
                    colours[at] = segment.style and segment.style.bgcolor
                    at += 1
            assert colours[10] == colours[78] != colours[40]
            assert colours[0] == colours[10]

    asyncio.run(main())
