"""The rows of the layer tree: drawing them, opening and closing them, moving among them."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from tltui.glyphs import Glyphs
from tltui.network import Row
from tltui.plan_editor import PlanEditor, State
from tltui.widgets.layer_columns import INDENT, Columns


class LayerRows(Tree[Row], inherit_bindings=False):
    """A network as a tree. Shows the state that an editor gives; changes nothing but what is open."""

    # Not inherited: a key that the user gives to another action would still fold the row, as Tree has it.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", "Up", show=False, id="layers.up"),
        Binding("down", "cursor_down", "Down", show=False, id="layers.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="layers.page_up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="layers.page_down"),
        Binding("home", "scroll_home", "First layer", show=False, id="layers.first"),
        Binding("end", "scroll_end", "Last layer", show=False, id="layers.last"),
        Binding("right", "open", "Open the layer, or go into it", show=False, id="layers.open"),
        Binding("left", "close", "Close the layer, or go out of it", show=False, id="layers.close"),
        Binding("enter", "toggle_node", "Open or close the layer", show=False, id="layers.fold"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "layers--trainable",
        "layers--frozen",
        "layers--mixed",
        "layers--quiet",
        "layers--pending",
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

        &:focus { background-tint: transparent 0%; }
    }
    """

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(Text(""))
        self._glyphs = glyphs
        self._editor: PlanEditor | None = None
        self._pending: Collection[str] = ()
        self._found: Collection[str] = frozenset()
        self._opened_in_passing: list[TreeNode[Row]] = []
        self._nodes_by_path: dict[str, TreeNode[Row]] = {}
        self._looks: dict[str, tuple[State, bool, bool]] = {}
        self._columns: Columns | None = None
        self._unfitted = False
        self.show_guides = False
        self.guide_depth = INDENT
        self.auto_expand = False

    @property
    def path(self) -> str:
        """The layer under the cursor; "" is the network itself."""
        return self.cursor_node.data.path if self.cursor_node and self.cursor_node.data else ""

    def show(self, editor: PlanEditor, pending: Collection[str]) -> None:
        """Show a plan; of a network that is not shown yet as many levels as fit."""
        is_new = self._editor is None or editor.network is not self._editor.network
        self._editor, self._pending = editor, pending
        if is_new:
            self._grow(editor)
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
        if self._editor is None:
            return
        looks = {path: self._look(self._editor, path) for path in self._nodes_by_path}
        changed = [path for path, look in looks.items() if self._looks.get(path) != look]
        self._looks = looks
        if len(changed) > self.size.height:
            self.root.refresh()  # a row is drawn anew after one above it was refreshed
            self.refresh()
        else:
            for path in changed:
                self._nodes_by_path[path].refresh()

    def go_to(self, path: str) -> None:
        """Move the cursor to a layer and open what hides it; what was opened so for another layer closes again."""
        node = self._nodes_by_path[path]
        above = _above(node)
        for opened in self._opened_in_passing:
            if opened not in above:
                opened.collapse()
        self._opened_in_passing = [
            opened for opened in above if opened.is_collapsed or opened in self._opened_in_passing
        ]
        for closed in self._opened_in_passing:
            closed.expand()
        self._number_lines()
        self.move_cursor(node)

    def expand_all(self) -> None:
        """Open every layer."""
        with self.prevent(Tree.NodeExpanded):
            self.root.expand_all()
        self._keep_cursor()

    def collapse_all(self) -> None:
        """Close every layer but the network itself."""
        self._open_to_depth(1)

    def action_open(self) -> None:
        """Open the layer under the cursor; if it is open, go to the first one in it."""
        node = self.cursor_node
        if node is None or not node.allow_expand:
            return
        if node.is_collapsed:
            node.expand()
        else:
            self.move_cursor(node.children[0])

    def action_close(self) -> None:
        """Close the layer under the cursor; if it is closed, go to the one that holds it."""
        node = self.cursor_node
        if node is None:
            return
        if node.allow_expand and node.is_expanded:
            node.collapse()
        elif node.parent is not None:
            self.move_cursor(node.parent)

    def on_resize(self, event: events.Resize) -> None:
        """Lay the columns out for the new width."""
        self._columns = None
        if self._unfitted and event.size.height:
            self._fit_depth()

    def get_label_width(self, node: TreeNode[Row]) -> int:
        """All rows end at the right edge; measuring thousands of labels would take long."""
        return self.scrollable_content_region.width - INDENT * (node.data.depth if node.data else 0)

    def scroll_to_line(self, line: int, animate: bool = False) -> None:
        """A key is answered at once: nothing glides."""
        super().scroll_to_line(line, animate=False)

    def render_line(self, y: int) -> Strip:
        """The cursor's bar begins at the left edge, whatever the indentation."""
        strip = super().render_line(y)
        node = self.get_node_at_line(self.scroll_offset.y + y)
        if node is None or node is not self.cursor_node or node.data is None:
            return strip
        indent = INDENT * node.data.depth
        bar = Segment(" " * indent, self.get_component_rich_style("tree--cursor"))
        return Strip.join([Strip([bar], indent), strip.crop(indent)])

    def render_label(self, node: TreeNode[Row], base_style: Style, style: Style) -> Text:
        """Draw one row."""
        row, editor = node.data, self._editor
        if row is None or editor is None:
            return Text("")
        glyphs = self._glyphs
        if self._columns is None:
            self._columns = Columns.fit(editor.network.rows.values(), self.scrollable_content_region.width, glyphs)
        state, pending, found = self._look(editor, row.path)
        icon = "" if not node.allow_expand else glyphs.expanded if node.is_expanded else glyphs.collapsed
        sign = {"trainable": glyphs.trainable, "frozen": glyphs.frozen, "mixed": glyphs.mixed, "none": ""}[state]
        cells = self._columns.cells(row, icon, sign, glyphs.pending if pending else "")
        under_cursor = node is self.cursor_node

        def part(name: str) -> Style:
            """On the cursor's bar only the bar's own colours are sure to be legible."""
            own = self.get_component_rich_style(f"layers--{name}")
            return style if under_cursor else style + Style(color=own.color, bold=own.bold, underline=own.underline)

        of_state = part("quiet" if state == "none" else state)
        of_name = style if state in ("trainable", "mixed") else of_state
        name = cells.name.rstrip()
        return Text.assemble(
            (cells.icon, part("quiet") + Style(meta={"toggle": True})),
            (cells.state, of_state),
            (name, of_name + Style(underline=found)),
            (" " * (len(cells.name) - len(name)), of_name),
            (cells.detail, part("quiet")),
            (cells.count, of_state if state == "trainable" else part("quiet")),
            (cells.pending, part("pending")),
        )

    def _grow(self, editor: PlanEditor) -> None:
        rows = editor.network.rows
        self.reset(Text(""), rows[""])
        nodes = self._nodes_by_path = {"": self.root}
        for path, row in rows.items():
            if row.parent is not None:
                nodes[path] = nodes[row.parent].add(Text(""), row, allow_expand=bool(row.children))
        self._found = frozenset()
        self._looks = {}
        self._opened_in_passing = []
        self._columns = None
        self._unfitted = True
        self.move_cursor(self.root)
        if self.size.height:
            self._fit_depth()

    def _look(self, editor: PlanEditor, path: str) -> tuple[State, bool, bool]:
        return editor.state(path), path in self._pending, path in self._found

    def _fit_depth(self) -> None:
        """Open as many levels as there is room for, the first in any case."""
        self._unfitted = False
        depths = [row.depth for row in self._editor.network.rows.values()] if self._editor else [0]
        fitting = [depth for depth in range(1, max(depths) + 1) if sum(d <= depth for d in depths) <= self.size.height]
        self._open_to_depth(max(fitting, default=1))

    def _open_to_depth(self, depth: int) -> None:
        with self.prevent(Tree.NodeExpanded, Tree.NodeCollapsed):
            for node in self._nodes_by_path.values():
                is_open = node.data is not None and node.data.depth < depth and node.allow_expand
                if is_open and node.is_collapsed:
                    node.expand()
                elif node.is_expanded and not is_open:
                    node.collapse()
        self._keep_cursor()

    def _keep_cursor(self) -> None:
        """Keep the cursor on its layer, or on the one that holds it now that it is closed."""
        node = self.cursor_node or self.root
        self._number_lines()
        self.move_cursor(next((above for above in _above(node) if above.is_collapsed), node))

    def _number_lines(self) -> None:
        """Let the tree count its lines now rather than when idle, since the cursor moves by them."""
        _ = self.last_line


def _above(node: TreeNode[Row]) -> list[TreeNode[Row]]:
    """The nodes that hold ``node``, outermost first."""
    above: list[TreeNode[Row]] = []
    while node.parent is not None:
        node = node.parent
        above.insert(0, node)
    return above
