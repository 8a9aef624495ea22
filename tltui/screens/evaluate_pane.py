"""How good the best checkpoint is: accuracy with its interval, every class, and what is taken for what."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engine.protocol import Evaluated
from engine.state import RunState
from tltui.glyphs import Glyphs, safe
from tltui.widgets.confusion import Confusion
from tltui.widgets.confusion_matrix import ConfusionMatrix


class EvaluatePane(Vertical):
    """One split at a time; a low terminal shows the matrix and the classes in turn."""

    DEFAULT_CSS = """
    EvaluatePane > #accuracy { height: auto; padding: 0 1; }
    EvaluatePane > #classes { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    EvaluatePane > Confusion { height: 2fr; margin: 1 0 0 0; }
    EvaluatePane > #classes, EvaluatePane > Confusion { display: none; }
    EvaluatePane.-evaluated > #classes, EvaluatePane.-evaluated > Confusion { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "next_split", "another split", id="evaluate.split"),
        Binding("x", "other_view", "matrix or classes", id="evaluate.view"),
    ]

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="evaluate", classes="-matrix")
        self._glyphs = glyphs
        self._state: RunState | None = None
        self._split = ""
        self._shown: Evaluated | None = None
        self._accuracy = Static(id="accuracy")
        self._class_table: DataTable[Text | str] = DataTable(cursor_type="row", id="classes")
        self._confusion = Confusion(glyphs=glyphs)

    def compose(self) -> ComposeResult:
        yield self._accuracy
        yield self._confusion
        yield self._class_table

    def on_mount(self) -> None:
        self._class_table.add_columns("class", "precision", "recall", "f1", "pictures")
        self._accuracy.update("The best checkpoint is evaluated when the run ends.")

    def show(self, state: RunState) -> None:
        """Show the evaluations of a run, the test split's first."""
        self._state = state
        if not state.evaluations:
            return
        if self._split not in state.evaluations:
            self._split = "test" if "test" in state.evaluations else next(iter(state.evaluations))
        evaluated = state.evaluations[self._split]
        if evaluated is self._shown:
            return
        self._shown = evaluated
        self.add_class("-evaluated")
        self._accuracy.update(Content("\n").join(_accuracy(state, evaluated, self._glyphs)))
        self._confusion.show(evaluated)
        self._class_table.clear()
        for of in sorted(evaluated.per_class, key=lambda of: of.f1):
            figures = (f"{of.precision:.1%}", f"{of.recall:.1%}", f"{of.f1:.1%}", f"{of.support:,}")
            self._class_table.add_row(Text(safe(of.label, 40)), *figures)

    def focus_matrix(self) -> None:
        """Put the focus on what can be moved in."""
        if self._shown is not None:
            matrix = self._confusion.query_one(ConfusionMatrix)
            (matrix if matrix.is_on_screen else self._class_table).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to turn over before the evaluation."""
        if action == "next_split":
            return self._state is not None and len(self._state.evaluations) > 1
        return action != "other_view" or (self._shown is not None and self.screen.has_class("-low"))

    def action_next_split(self) -> None:
        """Show the next of the splits that were evaluated."""
        if self._state is not None and self._state.evaluations:
            splits = list(self._state.evaluations)
            self._split = splits[(splits.index(self._split) + 1) % len(splits)]
            self.show(self._state)

    def action_other_view(self) -> None:
        """Show the classes instead of the matrix, or the matrix again."""
        self.toggle_class("-classes", "-matrix")
        self.call_after_refresh(self.focus_matrix)


def _accuracy(state: RunState, evaluated: Evaluated, glyphs: Glyphs) -> list[Content]:
    low, high = evaluated.accuracy_interval
    dot = f" {glyphs.separator} "
    simple = [of for of in state.baselines if of.split == evaluated.split]
    compared = "".join(f"{dot}{safe(of.name)} {of.accuracy:.1%}" for of in simple)
    return [
        Content.assemble(
            f"{safe(evaluated.split)} accuracy ",
            (f"{evaluated.accuracy:.1%}", "bold $text-success"),
            f"  95% interval {low:.1%} to {high:.1%}",
        ),
        Content(
            f"{evaluated.count:,} pictures{dot}balanced {evaluated.balanced_accuracy:.1%}{dot}"
            f"macro f1 {evaluated.macro_f1:.1%}{compared}"
        ),
    ]
