"""Confusion or co-occurrence of classes: the matrix and, with many classes, the most frequent pairs as a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import set_cell_size
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.runs.events import Evaluated
from tltui.tables.confusion import LabelMatrix, matrix_of, most_confused
from tltui.text import numbers as write
from tltui.text.glyphs import UNICODE, Glyphs, safe
from tltui.widgets.confusion_matrix import ConfusionMatrix

# More classes than this show the list of confusions beside the matrix.
LISTED = 8


WIDE = 90


LIST_WIDTH = 40


class PairList(OptionList):
    """The most frequent pairs of different classes; choosing one shows its images."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "up", id="pairs.up", show=False),
        Binding("down", "cursor_down", "down", id="pairs.down", show=False),
        Binding("pageup", "page_up", "page up", id="pairs.page_up", show=False),
        Binding("pagedown", "page_down", "page down", id="pairs.page_down", show=False),
        Binding("home", "first", "first", id="pairs.first", show=False),
        Binding("end", "last", "last", id="pairs.last", show=False),
        Binding("enter", "select", "show these images", id="pairs.choose"),
    ]


class Confusion(Container):
    """A confusion or co-occurrence matrix with a cursor, and the cell under it in words below."""

    DEFAULT_CSS = """
    Confusion {
        width: 1fr;
        height: 1fr;
        layout: vertical;
        & > #confusion-body { height: 1fr; layout: vertical; }
        & PairList {
            display: none;
            height: 30%;
            min-height: 3;
            border: none;
            padding: 0;
            scrollbar-size: 1 1;
            background: transparent;
            &:focus { border: none; }
        }
        & > #confusion-words { height: 1; color: $text; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-many PairList { display: block; }
        &.-many ConfusionMatrix { margin-top: 1; }
        &.-many.-wide > #confusion-body { layout: horizontal; }
        &.-many.-wide PairList { width: 42; height: 1fr; margin-right: 2; }
        &.-many.-wide ConfusionMatrix { margin-top: 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "shares", "counts / shares", id="confusion.shares"),
    ]

    @dataclass
    class CellChosen(Message):
        """Show the images of class ``true`` predicted as ``predicted``; both are class labels."""

        true: str
        predicted: str

    def __init__(
        self,
        *,
        glyphs: Glyphs = UNICODE,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._glyphs = glyphs
        self._evaluated: Evaluated | None = None
        self._matrix = LabelMatrix([], [], is_confusion=True)
        self._pairs: list[tuple[int, int, int]] = []

    def compose(self) -> ComposeResult:
        with Container(id="confusion-body"):
            yield PairList()
            yield ConfusionMatrix(glyphs=self._glyphs)
        yield Static("No evaluation yet.", id="confusion-words", markup=False)

    def show(self, evaluated: Evaluated) -> None:
        """Show an evaluation with the cursor on its most frequent pair of different classes."""
        if evaluated is self._evaluated:
            return
        self._evaluated = evaluated
        self._matrix = matrix_of(evaluated)
        self._pairs = most_confused(self._matrix)
        matrix, pairs = self.query_one(ConfusionMatrix), self.query_one(PairList)
        self.set_class(len(evaluated.classes) > LISTED, "-many")
        matrix.show(evaluated)
        pairs.clear_options()
        pairs.add_options([Option(self._pair_text(*pair)) for pair in self._pairs])
        if self._pairs:
            pairs.highlighted = 0
        _, true, predicted = self._pairs[0] if self._pairs else (0, 0, 0)
        matrix.move_to(true, predicted)

    @property
    def words(self) -> str:
        """The cell under the cursor, as a sentence."""
        if self._evaluated is None or not self._evaluated.classes:
            return "No evaluation yet."
        matrix = self.query_one(ConfusionMatrix)
        count, total = self._matrix.counts[matrix.true][matrix.predicted], self._matrix.totals[matrix.true]
        share = f"{count:,} of {total:,} ({write.share(self._matrix.share(matrix.true, matrix.predicted))})"
        true, predicted = (safe(self._evaluated.classes[at], 40) for at in (matrix.true, matrix.predicted))
        if not self._matrix.is_confusion:
            return f"images with {true}: {predicted} predicted for {share}"
        if matrix.true == matrix.predicted:
            return f"{true}: {share} correct"
        return f"{true} misclassified as {predicted}: {share}"

    def action_shares(self) -> None:
        """Show counts, or shares of each true class."""
        self.query_one(ConfusionMatrix).toggle_shares()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")

    @on(ConfusionMatrix.Moved)
    def _describe_cell(self, event: ConfusionMatrix.Moved) -> None:
        event.stop()
        self.query_one("#confusion-words", Static).update(self.words)

    @on(ConfusionMatrix.Chosen)
    def _choose(self, event: ConfusionMatrix.Chosen) -> None:
        event.stop()
        if self._evaluated is not None:
            classes = self._evaluated.classes
            self.post_message(self.CellChosen(classes[event.true], classes[event.predicted]))

    @on(PairList.OptionHighlighted)
    def _show_pair(self, event: PairList.OptionHighlighted) -> None:
        event.stop()
        if event.option_list.has_focus and event.option_index < len(self._pairs):
            _, true, predicted = self._pairs[event.option_index]
            self.query_one(ConfusionMatrix).move_to(true, predicted)

    @on(PairList.OptionSelected)
    def _open_pair(self, event: PairList.OptionSelected) -> None:
        event.stop()
        _, true, predicted = self._pairs[event.option_index]
        self._choose(ConfusionMatrix.Chosen(true, predicted))

    def _pair_text(self, count: int, true: int, predicted: int) -> Content:
        assert self._evaluated is not None
        room = (LIST_WIDTH - 16) // 2
        names = [safe(self._evaluated.classes[at], room, self._glyphs.ellipsis) for at in (true, predicted)]
        arrow = f" {self._glyphs.arrow} "
        pair = set_cell_size(arrow.join(names), 2 * room + len(arrow))
        return Content(f"{pair} {count:>5,} {write.share(self._matrix.share(true, predicted)):>5}")
