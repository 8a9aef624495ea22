"""The evaluation tab of a workbench: metrics of the best checkpoint, confusion matrix, classes, calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engine.evaluation.metrics import formatted_metrics, metric_label, named_interval, score_text
from engine.runs.events import ClassMetrics, Evaluated
from engine.runs.state import RunState
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.confusion import Confusion
from tltui.widgets.confusion_matrix import ConfusionMatrix
from tltui.widgets.number_scatter import NumberScatter
from tltui.widgets.reliability import reliability_lines

# Headings and sort keys of the class table.
_COLUMNS: dict[str, Callable[[ClassMetrics], Any]] = {
    "class": lambda of: of.label,
    "precision": lambda of: of.precision,
    "recall": lambda of: of.recall,
    "f1": lambda of: of.f1,
    "auc": lambda of: -1.0 if of.roc_auc is None else of.roc_auc,
    "images": lambda of: of.support,
}


_EMPTY = "No evaluation yet: the best checkpoint is evaluated when training ends."


class EvaluatePane(Vertical, can_focus=True):
    """Shows one split: matrix and classes, or calibration. A low terminal shows matrix or classes."""

    manual_topic = "evaluation"

    DEFAULT_CSS = """
    EvaluatePane > #accuracy { height: auto; padding: 0 1; }
    EvaluatePane > #classes { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    EvaluatePane > Confusion { height: 2fr; margin: 1 0 0 0; }
    EvaluatePane > #reliability { height: 1fr; padding: 1; overflow: hidden; }
    EvaluatePane > #classes, EvaluatePane > Confusion, EvaluatePane > #reliability { display: none; }
    EvaluatePane > NumberScatter { height: 1fr; display: none; }
    EvaluatePane.-numbers > NumberScatter { display: block; }
    EvaluatePane.-evaluated > #classes, EvaluatePane.-evaluated > Confusion { display: block; }
    EvaluatePane.-evaluated.-reliability > #reliability { display: block; }
    EvaluatePane.-classes-only > Confusion, EvaluatePane.-classes-only > #reliability { display: none !important; }
    EvaluatePane.-classes-only > #classes { display: block !important; }
    EvaluatePane.-evaluated.-reliability > #classes, EvaluatePane.-evaluated.-reliability > Confusion { display: none; }
    EvaluatePane.-numbers > #classes, EvaluatePane.-numbers > Confusion { display: none !important; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "next_split", "next split", id="evaluate.split"),
        Binding("x", "other_view", "matrix / classes / calibration", id="evaluate.view"),
        Binding("m", "misclassified", "browse misclassified images, largest errors", id="evaluate.mistakes"),
        Binding("n", "next_number", "next number", id="evaluate.number"),
        Binding("o", "order", "sort classes by the next column", id="evaluate.order"),
    ]

    @dataclass
    class MisclassifiedRequested(Message):
        """Show the misclassified images; ``classes`` are the labels of the run."""

        classes: list[str]

    def __init__(self, glyphs: Glyphs, marker: str) -> None:
        """``marker``: as in ``Curves``."""
        super().__init__(id="evaluate", classes="-matrix")
        self._glyphs = glyphs
        self._state: RunState | None = None
        self._split = ""
        self._order = 3  # f1, the worst first
        self._shown: Evaluated | None = None
        self._accuracy = Static(id="accuracy")
        self._class_table: DataTable[Text | str] = DataTable(cursor_type="row", id="classes")
        self._confusion = Confusion(glyphs=glyphs)
        self._number = 0
        self._scatter = NumberScatter(marker)
        self._reliability = Static(id="reliability", markup=False)

    def compose(self) -> ComposeResult:
        yield self._accuracy
        yield self._confusion
        yield self._class_table
        yield self._scatter
        yield self._reliability

    def on_mount(self) -> None:
        self._name_columns()
        self._accuracy.update(_EMPTY)

    def show(self, state: RunState) -> None:
        """Show the evaluations of a run, the test split's first."""
        self._state = state
        if not state.evaluations:
            if self._shown is not None:  # the log was replaced by one without an evaluation
                self._shown = None
                self.remove_class("-evaluated")
                self._accuracy.update(_EMPTY)
            return
        if self._split not in state.evaluations:
            self._split = "test" if "test" in state.evaluations else next(iter(state.evaluations))
        evaluated = state.evaluations[self._split]
        if evaluated is self._shown:
            return
        self._shown = evaluated
        self.add_class("-evaluated")
        self._accuracy.update(Content("\n").join(_accuracy(state, evaluated, self._glyphs)))
        self.set_class(not evaluated.confusion and not evaluated.numbers, "-classes-only")
        if evaluated.confusion:
            self._confusion.show(evaluated)
        self.set_class(bool(evaluated.numbers), "-numbers")
        self._draw_number()
        self._fill_classes(evaluated)
        self._draw_reliability()

    def _name_columns(self) -> None:
        mark = self._glyphs.expanded
        names = [f"{name} {mark}" if at == self._order else name for at, name in enumerate(_COLUMNS)]
        self._class_table.clear(columns=True)
        self._class_table.add_columns(*names)

    def _fill_classes(self, evaluated: Evaluated) -> None:
        self._class_table.clear()
        for of in sorted(evaluated.per_class, key=_COLUMNS[list(_COLUMNS)[self._order]]):
            metrics = (f"{of.precision:.1%}", f"{of.recall:.1%}", f"{of.f1:.1%}", _share(of.roc_auc), f"{of.support:,}")
            self._class_table.add_row(Text(safe(of.label, 40)), *metrics)

    def _draw_number(self) -> None:
        if self._shown is not None and self._shown.numbers:
            self._scatter.show(self._shown.numbers[self._number % len(self._shown.numbers)])

    def _draw_reliability(self) -> None:
        if self._shown is not None:
            width = self._reliability.content_size.width or self.size.width
            self._reliability.update(Content("\n".join(reliability_lines(self._shown, width, self._glyphs))))

    def on_resize(self) -> None:
        self._draw_reliability()

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the matrix or the class table, whichever is shown."""
        in_view: list[Widget] = [self._confusion.query_one(ConfusionMatrix), self._class_table]
        shown = [widget for widget in in_view if widget.is_on_screen]
        if self._shown is not None and shown:
            shown[0].focus(scroll_visible)
        else:
            super().focus(scroll_visible)
        return self

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Views need an evaluation with a confusion matrix, splits a second evaluation."""
        if action == "next_split":
            return self._state is not None and len(self._state.evaluations) > 1
        if action == "other_view":
            return self._shown is not None and bool(self._shown.confusion)
        if action == "next_number":
            return self._shown is not None and len(self._shown.numbers) > 1
        if action == "order":
            return self._shown is not None and not self._shown.numbers
        return action != "misclassified" or self._shown is not None

    def action_next_split(self) -> None:
        """Show the next evaluated split."""
        if self._state is not None and self._state.evaluations:
            splits = list(self._state.evaluations)
            self._split = splits[(splits.index(self._split) + 1) % len(splits)]
            self.show(self._state)

    def action_other_view(self) -> None:
        """Show the next of matrix, classes and calibration; the first two together where there is room."""
        views = (
            ["-matrix", "-classes", "-reliability"] if self.screen.has_class("-low") else ["-matrix", "-reliability"]
        )
        now = next((at for at, view in enumerate(views) if self.has_class(view)), 0)
        self.remove_class("-matrix", "-classes", "-reliability")
        self.add_class(views[(now + 1) % len(views)])
        self.call_after_refresh(self._draw_reliability)
        self.call_after_refresh(self.focus)

    def action_misclassified(self) -> None:
        """Browse the misclassified images; of numbers, those with the largest errors."""
        if self._shown is not None:
            self.post_message(self.MisclassifiedRequested(self._shown.classes))

    def action_next_number(self) -> None:
        """Show the next predicted number."""
        self._number += 1
        self._draw_number()

    def action_order(self) -> None:
        """Sort the classes by the next column, lowest first."""
        if self._shown is not None:
            self._order = (self._order + 1) % len(_COLUMNS)
            self._name_columns()
            self._fill_classes(self._shown)


_METRICS_BESIDE_COUNT = 3  # as many as fit beside the number of images in 80 columns


def _accuracy(state: RunState, evaluated: Evaluated, glyphs: Glyphs) -> list[Content]:
    dot = f" {glyphs.separator} "
    baselines = [of for of in state.baselines if of.split == evaluated.split]
    metrics = [f"{label} {value}" for label, value in formatted_metrics(evaluated, short=True).items()]
    compared = "".join(f"{dot}{safe(of.name)} {of.accuracy:.1%}" for of in baselines)
    return [
        Content.assemble(
            f"{safe(evaluated.split)} {metric_label(evaluated.score)} ",
            (score_text(evaluated), "bold $text-success"),
            *(f"  {text}" for text in [named_interval(evaluated)] if text),
        ),
        Content(dot.join([f"{evaluated.count:,} images", *metrics[:_METRICS_BESIDE_COUNT]]) + compared),
        Content(dot.join(metrics[_METRICS_BESIDE_COUNT:])),
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
