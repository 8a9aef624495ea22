"""The rows of the layer tree: drawing, expanding, collapsing, moving the cursor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

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
from tltui.freeze_plan.layer_columns import PARAMETERS, LayerColumn, LayerFacts, column_text
from tltui.freeze_plan.layer_index import LayerRow
from tltui.text.glyphs import Glyphs
from tltui.widgets.layer_columns import INDENT, Columns

# Textual's Tree creates an object and a message per expanded row; here only visible rows cost time.


@dataclass(frozen=True, slots=True)
class _Appearance:
    """Everything that decides how a row is drawn, besides the row."""

    state: State
    is_open: bool
    pending: bool
    found: bool
    under_cursor: bool
    count: str


class LayerRows(ScrollView, can_focus=True, inherit_bindings=False):
    """A network as a tree, with the state of each layer. Changes only which layers are expanded."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False, id="layers.up"),
        Binding("down", "move(1)", "down", show=False, id="layers.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="layers.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="layers.page_down"),
        Binding("home", "first", "first layer", show=False, id="layers.first"),
        Binding("end", "last", "last layer", show=False, id="layers.last"),
        Binding("right", "open", "expand layer / first child", show=False, id="layers.open"),
        Binding("left", "close", "collapse layer / parent", show=False, id="layers.close"),
        Binding("enter", "fold", "expand / collapse layer", show=False, id="layers.fold"),
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
        """The cursor moved to another layer."""

        path: str

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__()
        self.path = ""
        """Path of the layer under the cursor; "" is the network."""
        self._glyphs = glyphs
        self._editor: PlanEditor | None = None
        self._layers: ExpandedLayers | None = None
        self._pending: Collection[str] = ()
        self._found: Collection[str] = frozenset()
        self._expanded_for_match: list[str] = []
        self._columns: Columns | None = None
        self._column = PARAMETERS
        self._facts = LayerFacts()
        self._drawn: dict[str, _Appearance] = {}
        self._styles: dict[str, Style] = {}
        self._unfitted = False

    def show(self, editor: PlanEditor, pending: Collection[str]) -> None:
        """Show a plan; a new network is expanded as far as there is room."""
        is_new = self._editor is None or editor.network is not self._editor.network
        self._editor, self._pending = editor, pending
        if is_new:
            self.path, self._found, self._expanded_for_match = "", frozenset(), []
            self._layers = ExpandedLayers(editor.network.rows)
            self._columns, self._unfitted = None, True
            self._fit_depth()
        self.repaint()

    def show_column(self, column: LayerColumn, facts: LayerFacts) -> None:
        """Show ``column`` as the last one, with what is known of the layers."""
        if column.width != self._column.width:
            self._columns = None
            self.refresh()
        self._column, self._facts = column, facts
        self.repaint()

    def mark_found(self, paths: Collection[str]) -> None:
        """Underline the matches of a search."""
        self._found = frozenset(paths)
        self.repaint()

    def clear_found(self) -> None:
        """Remove the underlines; layers expanded for the current match stay expanded."""
        self._expanded_for_match = []
        self.mark_found(())

    def repaint(self) -> None:
        """Redraw changed rows only, to save terminal traffic."""
        if self._layers is None:
            return
        top = self.scroll_offset.y
        for y, path in enumerate(self._layers.paths[top : top + self.size.height]):
            if self._drawn.get(path) != self._appearance(path):
                self.refresh(Region(0, y, self.size.width, 1))

    def go_to(self, path: str) -> None:
        """Move the cursor to a layer and expand its parents; collapse those expanded for the match before."""
        if self._layers is None:
            return
        above = self._layers.above(path)
        self._layers.close(opened for opened in self._expanded_for_match if opened not in above)
        self._expanded_for_match = [
            layer for layer in above if layer in self._expanded_for_match or not self._layers.is_open(layer)
        ]
        self._layers.open(self._expanded_for_match)
        self._folded()
        self._move_to(path)

    def expand_all(self) -> None:
        """Expand every layer."""
        if self._layers is not None and self._editor is not None:
            self._layers.open(self._editor.network.rows)
            self._folded()

    def collapse_all(self) -> None:
        """Collapse every layer but the network."""
        if self._layers is not None:
            self._layers.open_to_depth(1)
            self._folded()

    def action_move(self, by: int) -> None:
        """Move the cursor by rows, within the tree."""
        if self._layers is not None:
            last = len(self._layers.paths) - 1
            self._move_to(self._layers.paths[min(max(self._layers.place(self.path) + by, 0), last)])

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self.action_move(by * max(self.size.height - 1, 1))

    def action_first(self) -> None:
        """Go to the first row, the network."""
        self._move_to("")

    def action_last(self) -> None:
        """Go to the last row."""
        if self._layers is not None:
            self._move_to(self._layers.paths[-1])

    def action_open(self) -> None:
        """Expand the layer under the cursor; if it is expanded, go to its first child."""
        if self._layers is not None and self._editor is not None:
            if self._layers.is_open(self.path):
                self._move_to(self._editor.network.rows[self.path].children[0])
            else:
                self.action_fold()

    def action_close(self) -> None:
        """Collapse the layer under the cursor; if it is collapsed, go to its parent."""
        if self._layers is not None:
            if self._layers.is_open(self.path):
                self.action_fold()
            elif above := self._layers.above(self.path):
                self._move_to(above[-1])

    def action_fold(self) -> None:
        """Expand or collapse the layer under the cursor."""
        if self._layers is not None:
            change = self._layers.close if self._layers.is_open(self.path) else self._layers.open
            change([self.path])
            self._folded()

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; a click on the icon expands or collapses the layer."""
        place = self.scroll_offset.y + event.y
        if self._layers is None or self._editor is None or place >= len(self._layers.paths):
            return
        self._move_to(self._layers.paths[place])
        start = INDENT * self._editor.network.rows[self.path].depth
        if start <= event.x < start + INDENT:
            self.action_fold()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the columns to the new width."""
        self._columns = None
        self._fit_depth()
        self._keep_in_view()

    def notify_style_update(self) -> None:
        """Drop cached styles: theme or focus changed."""
        super().notify_style_update()
        self._styles.clear()

    def render_line(self, y: int) -> Strip:
        """Draw one row; blank below the last."""
        place, width = self.scroll_offset.y + y, self.size.width
        if self._editor is None or self._layers is None or place >= len(self._layers.paths):
            return Strip.blank(width, self._style("plain"))
        path = self._layers.paths[place]
        appearance = self._drawn[path] = self._appearance(path)
        row = Strip(self._segments(self._editor.network.rows[path], appearance, self._fitted_columns()))
        return row.adjust_cell_length(width, self._style("cursor" if appearance.under_cursor else "plain"))

    def _segments(self, row: LayerRow, appearance: _Appearance, columns: Columns) -> list[Segment]:
        glyphs = self._glyphs
        icon = "" if not row.children else glyphs.expanded if appearance.is_open else glyphs.collapsed
        signs = {"trainable": glyphs.trainable, "frozen": glyphs.frozen, "mixed": glyphs.mixed, "none": ""}
        cells = columns.cells(
            row, icon, signs[appearance.state], appearance.count, glyphs.pending if appearance.pending else ""
        )

        def part(name: str) -> Style:
            """Style of a part; on the cursor row the cursor's, which is always legible."""
            return self._style("cursor" if appearance.under_cursor else name)

        of_state = part("quiet" if appearance.state == "none" else appearance.state)
        of_name = part("plain") if appearance.state in ("trainable", "mixed") else of_state
        name = cells.name.rstrip()
        return [
            Segment(" " * (INDENT * row.depth), part("plain")),
            Segment(cells.icon, part("quiet")),
            Segment(cells.state, of_state),
            Segment(name, of_name + Style(underline=True) if appearance.found else of_name),
            Segment(" " * (len(cells.name) - len(name)), of_name),
            Segment(cells.detail, part("quiet")),
            Segment(cells.count, of_state if appearance.state == "trainable" else part("quiet")),
            Segment(cells.pending, part("pending")),
        ]

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            own = self.rich_style if name == "plain" else self.get_component_rich_style(f"layers--{name}")
            self._styles[name] = own
        return self._styles[name]

    def _appearance(self, path: str) -> _Appearance:
        assert self._editor is not None
        assert self._layers is not None
        state = self._editor.state(path)
        return _Appearance(
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
        row = self._editor.network.rows[path]
        return column_text(self._column, row, self._facts, frozen=state == "frozen" and path not in self._pending)

    def _fitted_columns(self) -> Columns:
        if self._columns is None:
            rows = self._editor.network.rows.values() if self._editor else ()
            width = self.scrollable_content_region.width
            self._columns = Columns.fit(rows, width, self._glyphs, self._column.width)
        return self._columns

    def _fit_depth(self) -> None:
        """Expand as many levels as there is room for, once the height is known."""
        if self._unfitted and self._layers is not None and self.size.height:
            self._unfitted = False
            self._layers.open_what_fits(self.size.height)
        self._folded()

    def _folded(self) -> None:
        """Update after expanding or collapsing; the cursor stays on its layer or moves to its visible parent."""
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
            self.scroll_to_region(row, animate=False, force=True)  # no smooth scrolling: keys respond at once
