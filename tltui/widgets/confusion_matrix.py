"""The confusion or co-occurrence matrix as a heat map: counts where there is room, else shades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.runs.events import Evaluated
from tltui.tables.confusion import LabelMatrix, matrix_of
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe

# With more classes than this, cells are two characters wide and show shades.
NUMBERED = 30
SHADE_WIDTH = 2
WIDEST_CELL = 12
WIDEST_LABEL = 24
# Lower bounds of the shades: share of the images of the true class.
LEVELS = (0.0, 0.1, 0.25, 0.5)


class ConfusionMatrix(ScrollView, can_focus=True):
    """Rows are true classes, columns are predictions; their names stay in view."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "confusion--label",
        "confusion--chosen-label",
        "confusion--none",
        "confusion--cursor",
        *(f"confusion--{kind}-{level}" for kind in ("correct", "misclassified", "together") for level in range(1, 5)),
        "confusion--correct-shade",
        "confusion--misclassified-shade",
        "confusion--together-shade",
    }
    DEFAULT_CSS = """
    ConfusionMatrix {
        width: 1fr;
        height: 1fr;
        scrollbar-size: 1 1;
        & > .confusion--label { color: $text-muted; }
        & > .confusion--chosen-label { color: $text; text-style: bold; }
        & > .confusion--none { color: $text-muted 50%; }
        & > .confusion--cursor { text-style: bold reverse; }
        & > .confusion--correct-1 { color: $text; background: $success 8%; }
        & > .confusion--correct-2 { color: $text; background: $success 16%; }
        & > .confusion--correct-3 { color: $text; background: $success 26%; }
        & > .confusion--correct-4 { color: $text; background: $success 38%; }
        & > .confusion--misclassified-1 { color: $text; background: $error 12%; }
        & > .confusion--misclassified-2 { color: $text; background: $error 24%; }
        & > .confusion--misclassified-3 { color: $text; background: $error 36%; }
        & > .confusion--misclassified-4 { color: $text; background: $error 46%; text-style: bold; }
        & > .confusion--together-1 { color: $text; background: $accent 10%; }
        & > .confusion--together-2 { color: $text; background: $accent 20%; }
        & > .confusion--together-3 { color: $text; background: $accent 30%; }
        & > .confusion--together-4 { color: $text; background: $accent 40%; }
        & > .confusion--correct-shade { color: $text-success; }
        & > .confusion--misclassified-shade { color: $text-error; }
        & > .confusion--together-shade { color: $text-accent; }
        &:ansi {
            & > .confusion--correct-1, & > .confusion--correct-2,
            & > .confusion--correct-3, & > .confusion--correct-4 { color: $success; background: $background; }
            & > .confusion--misclassified-1, & > .confusion--misclassified-2,
            & > .confusion--misclassified-3, & > .confusion--misclassified-4 { color: $error; background: $background; }
            & > .confusion--together-1, & > .confusion--together-2,
            & > .confusion--together-3, & > .confusion--together-4 { color: $accent; background: $background; }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", "up", id="confusion.up", show=False),
        Binding("down", "move(1, 0)", "down", id="confusion.down", show=False),
        Binding("left", "move(0, -1)", "left", id="confusion.left", show=False),
        Binding("right", "move(0, 1)", "right", id="confusion.right", show=False),
        Binding("pageup", "page(-1)", "page up", id="confusion.page_up", show=False),
        Binding("pagedown", "page(1)", "page down", id="confusion.page_down", show=False),
        Binding("home", "edge(-1)", "first column", id="confusion.home", show=False),
        Binding("end", "edge(1)", "last column", id="confusion.end", show=False),
        Binding("enter", "choose", "show these images", id="confusion.choose"),
    ]

    @dataclass
    class Moved(Message):
        """The cursor moved to another cell."""

        true: int
        predicted: int

    @dataclass
    class Chosen(Message):
        """The cell under the cursor was chosen."""

        true: int
        predicted: int

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.true = self.predicted = 0
        self.as_shares = False
        self._glyphs = glyphs
        self._labels: list[str] = []
        self._matrix = LabelMatrix([], [], is_confusion=True)
        self._margin = 0
        self._cell = SHADE_WIDTH  # until the widget has a size

    def show(self, evaluated: Evaluated) -> None:
        """Show an evaluation; the cursor stays if its cell exists."""
        self._labels = [safe(label) for label in evaluated.classes]
        self._matrix = matrix_of(evaluated)
        last = len(self._labels) - 1
        self.true, self.predicted = min(self.true, last), min(self.predicted, last)
        self._measure()

    def move_to(self, true: int, predicted: int) -> None:
        """Move the cursor to a cell and scroll it into view."""
        last = len(self._labels) - 1
        if last < 0:
            return
        self.true, self.predicted = min(max(true, 0), last), min(max(predicted, 0), last)
        self._reveal()
        self.refresh()
        self.post_message(self.Moved(self.true, self.predicted))

    def toggle_shares(self) -> None:
        """Switch between counts and shares of the true class."""
        self.as_shares = not self.as_shares
        self._measure()

    def action_move(self, rows: int, columns: int) -> None:
        self.move_to(self.true + rows, self.predicted + columns)

    def action_page(self, direction: int) -> None:
        self.move_to(self.true + direction * max(1, self._rows_in_view - 1), self.predicted)

    def action_edge(self, direction: int) -> None:
        self.move_to(self.true, 0 if direction < 0 else len(self._labels) - 1)

    def action_choose(self) -> None:
        if self._labels:
            self.post_message(self.Chosen(self.true, self.predicted))

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is None or place.x < self._margin or place.y < 1:
            return
        column = (place.x - self._margin + self.scroll_offset.x) // self._cell
        row = place.y - 1 + self.scroll_offset.y
        if row < len(self._labels) and column < len(self._labels):
            is_second_click = (row, column) == (self.true, self.predicted)
            self.move_to(row, column)
            if is_second_click:
                self.action_choose()

    def on_resize(self, event: events.Resize) -> None:
        self._measure()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        row = y - 1 + self.scroll_offset.y
        if not self._labels or (y and row >= len(self._labels)):
            return Strip.blank(width, self.rich_style)
        margin, cells = self._header() if y == 0 else self._row(row)
        start = self.scroll_offset.x % self._cell
        line = Strip(cells).crop(start, start + max(0, width - self._margin))
        return Strip.join([Strip([margin]), line]).adjust_cell_length(width, self.rich_style)

    @property
    def _rows_in_view(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    @property
    def _columns_in_view(self) -> range:
        first = self.scroll_offset.x // self._cell
        room = self.scrollable_content_region.width - self._margin
        return range(first, min(len(self._labels), first + room // self._cell + 2))

    def _measure(self) -> None:
        """Fit the widths of names and cells to the classes and the widget."""
        count, width = len(self._labels), self.size.width
        if not count or not width:
            return
        longest = max(map(cell_len, self._labels))
        self._margin = min(longest, WIDEST_LABEL, max(8, width // 4)) + 3
        if count > NUMBERED:
            self._cell = SHADE_WIDTH
        else:
            digits = 4 if self.as_shares else len(str(max(map(max, self._matrix.counts))))
            self._cell = max(digits + 2, 5, min(WIDEST_CELL, longest + 1, (width - self._margin) // count))
        self.virtual_size = Size(self._margin + count * self._cell, count + 1)
        self._reveal()
        self.refresh()

    def _reveal(self) -> None:
        view, offset = self.scrollable_content_region, self.scroll_offset
        x = _into_view(self.predicted * self._cell, self._cell, offset.x, view.width - self._margin)
        y = _into_view(self.true, 1, offset.y, self._rows_in_view)
        self.scroll_to(x, y, animate=False, force=True, immediate=True)

    def _header(self) -> tuple[Segment, list[Segment]]:
        plain, chosen = self._style("label"), self._style("chosen-label")
        words = "true / predicted" if self._margin > len("true / predicted") else "true"
        corner = Segment(set_cell_size(words, self._margin), plain)
        columns = self._columns_in_view
        if self._cell > SHADE_WIDTH:
            names = [
                Segment(
                    self._align_right(safe(self._labels[at], self._cell - 1, self._glyphs.ellipsis)),
                    chosen if at == self.predicted else plain,
                )
                for at in columns
            ]
            return corner, names
        # narrow cells leave room for the name of the current column only
        before = (self.predicted - columns.start) * self._cell
        room = len(columns) * self._cell
        name = f"{self._glyphs.expanded} {self._labels[self.predicted]}"
        if before + cell_len(name) > room:
            name = f"{self._labels[self.predicted]} {self._glyphs.expanded}"
            before = max(0, before + 1 - cell_len(name))
        return corner, [Segment(" " * before, plain), Segment(name, chosen)]

    def _row(self, row: int) -> tuple[Segment, list[Segment]]:
        here = row == self.true
        mark = self._glyphs.cursor if here else " "
        name = set_cell_size(safe(self._labels[row], self._margin - 3, self._glyphs.ellipsis), self._margin - 2)
        label = Segment(f"{mark} {name}", self._style("chosen-label" if here else "label"))
        return label, [self._cell_at(row, column) for column in self._columns_in_view]

    def _cell_at(self, row: int, column: int) -> Segment:
        count, share = self._matrix.counts[row][column], self._matrix.share(row, column)
        level = sum(share >= least for least in LEVELS) if count else 0
        kind = "correct" if row == column else "misclassified" if self._matrix.is_confusion else "together"
        if self._cell == SHADE_WIDTH:
            text = self._glyphs.shades[level] * 2 if level else f"{self._empty} "
            style = self._style(f"{kind}-shade" if level else "none")
        else:
            text = (
                self._align_right(f"{share:.0%}" if self.as_shares else str(count))
                if count
                else self._align_right(self._empty)
            )
            style = self._style(f"{kind}-{level}" if level else "none")
        if (row, column) == (self.true, self.predicted):
            # a reversed shade would look like another shade
            text = "[]" if self._cell == SHADE_WIDTH else text
            style += self.get_component_rich_style("confusion--cursor", partial=True)
        return Segment(text, style)

    @property
    def _empty(self) -> str:
        return "." if self._glyphs is ASCII else "·"

    def _align_right(self, text: str) -> str:
        """Align ``text`` right in a cell, before a space."""
        return " " * (self._cell - 1 - cell_len(text)) + text + " "

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"confusion--{name}")


def _into_view(start: int, size: int, offset: int, room: int) -> int:
    """Scroll offset that shows a cell: by one step at the edge, else with the cell in the middle."""
    if offset <= start <= offset + room - size:
        return offset
    if start + size < offset or start > offset + room:
        return max(0, start - room // 2)
    return start if start < offset else start + size - room
