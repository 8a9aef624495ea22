"""The rows of the layer tree: drawing them, opening and closing them, moving among them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tltui.freeze_plan.editor import PlanEditor, State
from tltui.freeze_plan.expanded_layers import ExpandedLayers
from tltui.freeze_plan.layer_columns import WIDTH, Figure, LayersAtWork
from tltui.freeze_plan.layer_index import LayerRow
from tltui.text.glyphs import Glyphs
from tltui.text.numbers import number
from tltui.widgets.layer_columns import INDENT, Columns

# Textual's own Tree makes an object and a message of every row that opens; here only rows in view cost anything.


@dataclass(frozen=True, slots=True)
class _Look:
    """All that decides how a row looks, besides the row itself."""

    state: State
    is_open: bool
    pending: bool
    found: bool
    under_cursor: bool
    count: str


class LayerRows(ScrollView, can_focus=True, inherit_bindings=False):
    """A network as a tree. Shows the state that an editor gives; changes nothing but what is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False, id="layers.up"),
        Binding("down", "move(1)", "down", show=False, id="layers.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="layers.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="layers.page_down"),
        Binding("home", "first", "first layer", show=False, id="layers.first"),
        Binding("end", "last", "last layer", show=False, id="layers.last"),
        Binding("right", "open", "open the layer, or go into it", show=False, id="layers.open"),
        Binding("left", "close", "close the layer, or go out of it", show=False, id="layers.close"),
        Binding("enter", "fold", "open or close the layer", show=False, id="layers.fold"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "layers--trainable",
        "layers--frozen",
        "layers--mixed",
        "layers--quiet",
        "layers--pending",
        "layers--cursor",
    }

    DEFAULT_CSS = """
    LayerRows {
        background: transparent;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;

        & > .layers--trainable { color: $text-success; text-style: bold; }
        & > .layers--mixed { color: $text-warning; }
        & > .layers--frozen { color: $text-muted; }
        & > .layers--quiet { color: $text-muted; }
        & > .layers--pending { color: $text-accent; text-style: bold; }
        & > .layers--cursor {
            color: $block-cursor-blurred-foreground;
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .layers--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
    }
    """

    @dataclass
    class Moved(Message):
        """The cursor is on another layer."""

        path: str

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__()
        self.path = ""
        """The layer under the cursor; "" is the network itself."""
        self._glyphs = glyphs
        self._editor: PlanEditor | None = None
        self._layers: ExpandedLayers | None = None
        self._pending: Collection[str] = ()
        self._found: Collection[str] = frozenset()
        self._opened_in_passing: list[str] = []
        self._columns: Columns | None = None
        self._at_work: tuple[LayersAtWork, Figure] | None = None
        self._drawn: dict[str, _Look] = {}
        self._styles: dict[str, Style] = {}
        self._unfitted = False

    def show(self, editor: PlanEditor, pending: Collection[str]) -> None:
        """Show a plan; of a network that is not shown yet as many levels as fit."""
        is_new = self._editor is None or editor.network is not self._editor.network
        self._editor, self._pending = editor, pending
        if is_new:
            self.path, self._found, self._opened_in_passing = "", frozenset(), []
            self._layers = ExpandedLayers(editor.network.rows)
            self._columns, self._unfitted = None, True
            self._fit_depth()
        self.repaint()

    def show_at_work(self, at_work: tuple[LayersAtWork, Figure] | None) -> None:
        """Say in the last column what layers do; None: how many parameters they have."""
        if (at_work is None) != (self._at_work is None):
            self._columns = None
            self.refresh()
        self._at_work = at_work
        self.repaint()

    def mark_found(self, paths: Collection[str]) -> None:
        """Underline the rows that a search has found."""
        self._found = frozenset(paths)
        self.repaint()

    def forget_found(self) -> None:
        """The search is over; what it has opened on the way to the cursor stays open."""
        self._opened_in_passing = []
        self.mark_found(())

    def repaint(self) -> None:
        """Draw those rows again that look different now; every cell has to travel to the terminal."""
        if self._layers is None:
            return
        top = self.scroll_offset.y
        for y, path in enumerate(self._layers.paths[top : top + self.size.height]):
            if self._drawn.get(path) != self._look(path):
                self.refresh(Region(0, y, self.size.width, 1))

    def go_to(self, path: str) -> None:
        """Move the cursor to a layer and open what hides it; what was opened so for another layer closes again."""
        if self._layers is None:
            return
        above = self._layers.above(path)
        self._layers.close(opened for opened in self._opened_in_passing if opened not in above)
        self._opened_in_passing = [
            layer for layer in above if layer in self._opened_in_passing or not self._layers.is_open(layer)
        ]
        self._layers.open(self._opened_in_passing)
        self._folded()
        self._move_to(path)

    def expand_all(self) -> None:
        """Open every layer."""
        if self._layers is not None and self._editor is not None:
            self._layers.open(self._editor.network.rows)
            self._folded()

    def collapse_all(self) -> None:
        """Close every layer but the network itself."""
        if self._layers is not None:
            self._layers.open_to_depth(1)
            self._folded()

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows, as far as there are any."""
        if self._layers is not None:
            last = len(self._layers.paths) - 1
            self._move_to(self._layers.paths[min(max(self._layers.place(self.path) + by, 0), last)])

    def action_page(self, by: int) -> None:
        """Move the cursor by so many screens."""
        self.action_move(by * max(self.size.height - 1, 1))

    def action_first(self) -> None:
        """Go to the network itself."""
        self._move_to("")

    def action_last(self) -> None:
        """Go to the last row."""
        if self._layers is not None:
            self._move_to(self._layers.paths[-1])

    def action_open(self) -> None:
        """Open the layer under the cursor; if it is open, go to the first one in it."""
        if self._layers is not None and self._editor is not None:
            if self._layers.is_open(self.path):
                self._move_to(self._editor.network.rows[self.path].children[0])
            else:
                self.action_fold()

    def action_close(self) -> None:
        """Close the layer under the cursor; if it is closed, go to the one that holds it."""
        if self._layers is not None:
            if self._layers.is_open(self.path):
                self.action_fold()
            elif above := self._layers.above(self.path):
                self._move_to(above[-1])

    def action_fold(self) -> None:
        """Open the layer under the cursor, or close it."""
        if self._layers is not None:
            change = self._layers.close if self._layers.is_open(self.path) else self._layers.open
            change([self.path])
            self._folded()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; one on the sign before a layer opens or closes it."""
        place = self.scroll_offset.y + event.y
        if self._layers is None or self._editor is None or place >= len(self._layers.paths):
            return
        self._move_to(self._layers.paths[place])
        start = INDENT * self._editor.network.rows[self.path].depth
        if start <= event.x < start + INDENT:
            self.action_fold()

    def on_resize(self, event: events.Resize) -> None:
        """Lay the columns out for the new width."""
        self._columns = None
        self._fit_depth()
        self._keep_in_view()

    def notify_style_update(self) -> None:
        """Other colours are in force: another theme, or the focus has come or gone."""
        super().notify_style_update()
        self._styles.clear()

    def render_line(self, y: int) -> Strip:
        """One row, or nothing below the last."""
        place, width = self.scroll_offset.y + y, self.size.width
        if self._editor is None or self._layers is None or place >= len(self._layers.paths):
            return Strip.blank(width, self._style("plain"))
        path = self._layers.paths[place]
        look = self._drawn[path] = self._look(path)
        row = Strip(self._segments(self._editor.network.rows[path], look, self._fitted_columns()))
        return row.adjust_cell_length(width, self._style("cursor" if look.under_cursor else "plain"))

    def _segments(self, row: LayerRow, look: _Look, columns: Columns) -> list[Segment]:
        glyphs = self._glyphs
        icon = "" if not row.children else glyphs.expanded if look.is_open else glyphs.collapsed
        signs = {"trainable": glyphs.trainable, "frozen": glyphs.frozen, "mixed": glyphs.mixed, "none": ""}
        cells = columns.cells(row, icon, signs[look.state], look.count, glyphs.pending if look.pending else "")

        def part(name: str) -> Style:
            """On the cursor's bar only the bar's own colours are sure to be legible."""
            return self._style("cursor" if look.under_cursor else name)

        of_state = part("quiet" if look.state == "none" else look.state)
        of_name = part("plain") if look.state in ("trainable", "mixed") else of_state
        name = cells.name.rstrip()
        return [
            Segment(" " * (INDENT * row.depth), part("plain")),
            Segment(cells.icon, part("quiet")),
            Segment(cells.state, of_state),
            Segment(name, of_name + Style(underline=True) if look.found else of_name),
            Segment(" " * (len(cells.name) - len(name)), of_name),
            Segment(cells.detail, part("quiet")),
            Segment(cells.count, of_state if look.state == "trainable" else part("quiet")),
            Segment(cells.pending, part("pending")),
        ]

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            own = self.rich_style if name == "plain" else self.get_component_rich_style(f"layers--{name}")
            self._styles[name] = own
        return self._styles[name]

    def _look(self, path: str) -> _Look:
        assert self._editor is not None
        assert self._layers is not None
        state = self._editor.state(path)
        return _Look(
            state=state,
            is_open=self._layers.is_open(path),
            pending=path in self._pending,
            found=path in self._found,
            under_cursor=path == self.path,
            count=self._count(path, state),
        )

    def _count(self, path: str, state: State) -> str:
        """The last column."""
        assert self._editor is not None
        if self._at_work is not None:
            layers, figure = self._at_work
            return layers.text(figure, path, frozen=state == "frozen" and path not in self._pending)
        parameters = self._editor.network.rows[path].parameters
        return number(parameters) if parameters else ""

    def _fitted_columns(self) -> Columns:
        if self._columns is None:
            rows = self._editor.network.rows.values() if self._editor else ()
            count = WIDTH if self._at_work else max(cell_len(number(row.parameters)) for row in rows)
            self._columns = Columns.fit(rows, self.scrollable_content_region.width, self._glyphs, count)
        return self._columns

    def _fit_depth(self) -> None:
        """Open as many levels as there is room for, once it is known how much there is."""
        if self._unfitted and self._layers is not None and self.size.height:
            self._unfitted = False
            self._layers.open_what_fits(self.size.height)
        self._folded()

    def _folded(self) -> None:
        """Other rows are in view now; the cursor stays on its layer, or on the one that hides it."""
        if self._layers is None:
            return
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._layers.paths))
        self.refresh()
        self._move_to(self._layers.paths[self._layers.place(self.path)])

    def _move_to(self, path: str) -> None:
        moved, self.path = path != self.path, path
        self._keep_in_view()
        self.repaint()
        if moved:
            self.post_message(self.Moved(path))

    def _keep_in_view(self) -> None:
        if self._layers is not None:
            row = Region(0, self._layers.place(self.path), 1, 1)
            self.scroll_to_region(row, animate=False, force=True)  # a key is answered at once: nothing glides
