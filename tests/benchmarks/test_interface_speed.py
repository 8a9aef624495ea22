"""How the interface's work grows with what it shows: each figure beside the same for little, in one process.

Times are those of this process alone, since what else the machine does is not ours.
``pytest tests/benchmarks -s`` prints them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable

from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from engine.runs.events import ClassMetrics, Evaluated
from engine.runs.state import fold, fold_all
from tests.ui.folded_runs import beginning, training
from tests.ui.networks import large_network
from tltui.freeze_plan.editor import PlanEditor
from tltui.widgets.confusion_matrix import ConfusionMatrix
from tltui.widgets.curves import Curves
from tltui.widgets.layer_tree import LayerTree

# Each of them changes something when it comes to it.
KEYS = ["e", "home", "down", "space", "u", "a", "end", "f", "u", "u", "c"]
ROUNDS = 5


class Alone(App[None]):
    """One widget on the whole screen."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.painted = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_mount(self) -> None:
        self.widget.focus()

    def _display(self, screen: Screen, renderable: object) -> None:
        super()._display(screen, renderable)  # type: ignore[arg-type]
        self.painted.set()


def milliseconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


async def key_to_paint(app: Alone, pilot: Pilot[None], key: str) -> float:
    await pilot.pause()
    app.painted.clear()
    start = time.process_time()
    app.post_message(events.Key(key, " " if key == "space" else key if len(key) == 1 else None))
    await asyncio.wait_for(app.painted.wait(), 5)
    return (time.process_time() - start) * 1000


def keys_in_a_tree(modules: int) -> dict[str, float]:
    """For each key the median time to the paint that answers it."""

    async def main() -> dict[str, float]:
        tree = LayerTree()
        tree.show(PlanEditor(large_network(modules), ["freeze *", "train head"]))
        app = Alone(tree)
        times: dict[str, list[float]] = {key: [] for key in KEYS}
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("c", "end")
            for _ in range(ROUNDS):
                for key in KEYS:
                    times[key].append(await key_to_paint(app, pilot, key))
        return {key: statistics.median(taken) for key, taken in times.items()}

    return asyncio.run(main())


def curves_of(steps: int) -> tuple[float, float]:
    """Drawing all anew, and drawing one step more."""

    async def main() -> tuple[float, float]:
        state = fold_all([*beginning(60, 4000), *training(range(1, steps + 1), 4000)])
        curves = Curves()
        async with Alone(curves).run_test(size=(120, 40)) as pilot:
            curves.show(state)
            await pilot.pause()
            gc.collect()
            gc.freeze()  # what is measured is drawing, not Python's walk over the events of this test
            anew = [milliseconds(curves.action_log) for _ in range(6)]
            more = []
            for event in training(range(steps + 1, steps + 101), 4000):
                fold(state, event)
                more.append(milliseconds(lambda: curves.show(state)))
            gc.unfreeze()
            return min(anew), statistics.fmean(more)

    return asyncio.run(main())


def moves_in_a_matrix(classes: int) -> float:
    """Moving through a confusion matrix and painting it, a move."""
    confusion = [[40 if a == b else 5 if b == (a + 1) % classes else 0 for b in range(classes)] for a in range(classes)]
    evaluated = Evaluated(
        split="test",
        count=45 * classes,
        log_loss=0.3,
        accuracy=0.9,
        accuracy_interval=(0.8, 0.95),
        balanced_accuracy=0.9,
        macro_f1=0.9,
        classes=[f"class {at}" for at in range(classes)],
        per_class=[ClassMetrics(f"class {at}", 0.9, 0.9, 0.9, 45) for at in range(classes)],
        confusion=confusion,
        images_per_second=100.0,
    )

    async def main() -> float:
        matrix = ConfusionMatrix()
        async with Alone(matrix).run_test(size=(120, 40)) as pilot:
            matrix.show(evaluated)
            await pilot.pause()

            def move(at: int) -> None:
                matrix.move_to(at % classes, (classes - 1 - at) % classes)
                for y in range(matrix.size.height):
                    matrix.render_line(y)

            return statistics.median([milliseconds(lambda at=at: move(at)) for at in range(60)])

    return asyncio.run(main())


def told(what: str, many: float, few: float) -> float:
    """Print both figures; returns their ratio."""
    print(f"{what}: {many:.1f} ms beside {few:.1f} ms, {many / few:.1f} times")  # noqa: T201
    return many / few


def test_a_key_in_a_tree_of_three_thousand_layers_costs_little_more_than_in_one_of_three_hundred():
    many, few = keys_in_a_tree(3000), keys_in_a_tree(300)
    ratios = [told(f"{key} to paint, 3,000 and 300 layers", many[key], few[key]) for key in many]
    assert max(ratios) < 5


def test_curves_of_two_hundred_thousand_steps_draw_like_those_of_two_thousand():
    (many, one_of_many), (few, _) = curves_of(200_000), curves_of(2_000)
    assert told("drawing 200,000 and 2,000 steps", many, few) < 5
    assert told("drawing all of 200,000 steps and one step more", many, one_of_many) > 2


def test_a_thousand_classes_are_walked_like_fifty():
    assert told("a move among 1,000 and 50 classes", moves_in_a_matrix(1000), moves_in_a_matrix(50)) < 5
