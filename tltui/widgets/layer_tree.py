"""The layer tree: which layers are trainable, by which rule, and the keys that edit the plan."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.errors import InputError
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import PARAMETERS, LayerFacts, LayerStats, available_columns, column_title
from tltui.freeze_plan.weight_origins import Origins
from tltui.text.glyphs import UNICODE, Glyphs, safe
from tltui.widgets.layer_rows import LayerRows
from tltui.widgets.layer_search import LayerSearch

_WORDS = {"trainable": "trainable", "frozen": "frozen", "mixed": "partly trainable", "none": "no parameters"}


class LayerTree(Vertical):
    """A network, the state of each layer under the freeze plan, and the deciding rule below.

    Edits the plan at once and posts the new rules.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_layer", "freeze / unfreeze layer", id="layers.toggle"),
        Binding("f", "up_to_here", "freeze everything before layer", id="layers.up_to_here"),
        Binding("h", "head_only", "train head only", id="layers.head_only"),
        Binding("a", "train_all", "train all layers", id="layers.all"),
        Binding("1", "last_stages(1)", "train last stage", show=False, id="layers.last_stage"),
        Binding("2", "last_stages(2)", "train last two stages", show=False, id="layers.last_two_stages"),
        Binding("3", "last_stages(3)", "train last three stages", show=False, id="layers.last_three_stages"),
        Binding("m", "norms", "train norms and head", show=False, id="layers.norms"),
        Binding("B", "biases", "train biases and head", show=False, id="layers.biases"),
        Binding("v", "next_column", "next column: parameters, or statistics", id="layers.figure"),
        Binding("u", "undo", "undo", id="layers.undo"),
        Binding("U", "redo", "redo", show=False, id="layers.redo"),
        Binding("slash", "search", "find layer", key_display="/", id="layers.find"),
        Binding("n", "next_found", "next match", show=False, id="layers.next"),
        Binding("N", "previous_found", "previous match", show=False, id="layers.previous"),
        Binding("escape", "end_search", "end search", show=False, id="layers.end_search"),
        Binding("e", "expand_all", "expand all layers", show=False, id="layers.expand_all"),
        Binding("c", "collapse_all", "collapse all layers", show=False, id="layers.collapse_all"),
    ]

    DEFAULT_CSS = """
    LayerTree {
        & > LayerRows { height: 1fr; }
        & > .why { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & > LayerSearch { display: none; }
        &.-searching > LayerSearch { display: block; }
        &.-searching > .why { display: none; }
    }
    """

    @dataclass
    class PlanChanged(Message):
        """The user edited the plan to ``rules``."""

        rules: list[str]

    @dataclass
    class Refused(Message):
        """An edit is impossible or changes nothing."""

        reason: str

    @dataclass
    class Highlighted(Message):
        """The cursor moved, or another rule decides about its layer."""

        path: str
        why: str

    @dataclass
    class ColumnShown(Message):
        """The title of the last column; "" for parameters."""

        title: str

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._glyphs = glyphs
        self._editor: PlanEditor | None = None
        self._pending: Collection[str] = frozenset()
        self._found: list[str] = []
        self._facts = LayerFacts()
        self._column = PARAMETERS
        self._explained: tuple[str, str] | None = None
        self._rows = LayerRows(glyphs)
        self._why = Static(classes="why")
        self._search = LayerSearch()
        self._search_began_at = ""

    def compose(self) -> ComposeResult:
        yield self._rows
        yield self._why
        yield self._search

    def on_resize(self) -> None:
        """Fit the line to the new width."""
        self._explain()

    def show(self, editor: PlanEditor, pending: Collection[str] = frozenset()) -> None:
        """Show a plan; ``pending``: paths whose change the engine has not answered."""
        self._editor, self._pending = editor, frozenset(pending)
        self._rows.show(editor, self._pending)
        self._explain()

    def show_stats(self, stats: LayerStats) -> None:
        """Show the layers' statistics in a run; a key switches the column."""
        self._show_facts(replace(self._facts, stats=stats))

    def show_origins(self, origins: Origins, *, reported: bool) -> None:
        """Show where the layers' initial weights come from: as a run ``reported``, or as expected of a draft.

        The line below names it for the layer under the cursor; in a run it is a column, too.
        """
        self._show_facts(replace(self._facts, origins=origins, reported=reported))
        self._explain()

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the rows."""
        self._rows.focus(scroll_visible)
        return self

    @property
    def path(self) -> str:
        """Path of the layer under the cursor; "" is the network."""
        return self._rows.path

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to others unless a search is open; with one column there is nothing to switch."""
        if action == "next_column":
            return len(available_columns(self._facts)) > 1
        if action in ("end_search", "next_found", "previous_found"):
            return self.has_class("-searching")
        return self._editor is not None

    def action_toggle_layer(self) -> None:
        """Freeze or unfreeze the layer under the cursor."""
        self._edit(lambda editor: editor.toggle(self.path))

    def action_up_to_here(self) -> None:
        """Freeze every layer that runs before the one under the cursor."""
        self._edit(lambda editor: editor.up_to_here(self.path), "All layers before this one are frozen already")

    def action_head_only(self) -> None:
        """Train the head only."""
        self._edit(PlanEditor.head_only, "Only the head is trainable already")

    def action_train_all(self) -> None:
        """Train all layers."""
        self._edit(PlanEditor.all, "All layers are trainable already")

    def action_last_stages(self, count: int) -> None:
        """Train the last stages and the head."""
        self._edit(lambda editor: editor.last_stages(count), "Exactly these stages are trainable already")

    def action_norms(self) -> None:
        """Train the normalization layers and the head."""
        self._edit(PlanEditor.norms, "Exactly the norms and the head are trainable already")

    def action_biases(self) -> None:
        """Train the biases and the head."""
        self._edit(PlanEditor.biases, "Exactly the biases and the head are trainable already")

    def action_next_column(self) -> None:
        """Show the next column, after the last one the first again."""
        columns = available_columns(self._facts)
        self._column = columns[(columns.index(self._column) + 1) % len(columns)]
        self._show_column()

    def action_undo(self) -> None:
        """Undo the last edit."""
        self._edit(PlanEditor.undo)

    def action_redo(self) -> None:
        """Redo the last undone edit."""
        self._edit(PlanEditor.redo)

    def action_expand_all(self) -> None:
        """Expand all layers."""
        self._rows.expand_all()

    def action_collapse_all(self) -> None:
        """Collapse all layers."""
        self._rows.collapse_all()

    def action_search(self) -> None:
        """Open the search line."""
        self._search_began_at = self.path
        self.add_class("-searching")
        self._search.begin()
        self.refresh_bindings()

    def action_end_search(self) -> None:
        """End the search. Until it is submitted, the cursor returns to where it was."""
        if not self._rows.has_focus:
            self._rows.go_to(self._search_began_at)
        self.remove_class("-searching")
        self._found = []
        self._rows.clear_found()
        self._rows.focus()
        self._explain()
        self.refresh_bindings()

    def action_next_found(self) -> None:
        """Go to the next match."""
        self._go_to_found(self.path, step=1)

    def action_previous_found(self) -> None:
        """Go to the previous match."""
        self._go_to_found(self.path, step=-1)

    @on(LayerSearch.Changed)
    def _find(self, event: LayerSearch.Changed) -> None:
        event.stop()
        self._found = self._editor.network.find(event.query) if self._editor else []
        self._rows.mark_found(self._found)
        self._go_to_found(self._search_began_at, step=0)

    @on(LayerSearch.Submitted)
    def _choose(self, event: LayerSearch.Submitted) -> None:
        event.stop()
        if self._found:
            self._rows.focus()
        else:
            self.action_end_search()

    @on(LayerRows.Moved)
    def _moved(self, event: LayerRows.Moved) -> None:
        event.stop()
        self._explain()

    def _go_to_found(self, origin: str, step: int) -> None:
        """Go to the match at or after ``origin`` (step 0), after (1) or before it (-1), around the ends."""
        if self._editor is None or not self._found:
            self._rows.go_to(self._search_began_at)
            self._search.show_place(0, 0)
            return
        places = {path: place for place, path in enumerate(self._editor.network.rows)}
        start = places[origin] + step
        if step < 0:
            path = next((path for path in reversed(self._found) if places[path] <= start), self._found[-1])
        else:
            path = next((path for path in self._found if places[path] >= start), self._found[0])
        self._rows.go_to(path)
        self._search.show_place(self._found.index(path) + 1, len(self._found))

    def _edit(self, edit: Callable[[PlanEditor], None], unchanged: str = "No layer changes") -> None:
        editor = self._editor
        if editor is None:
            return
        before = editor.rules
        try:
            edit(editor)
        except InputError as error:
            self.post_message(self.Refused(str(error)))
            return
        if editor.rules == before:
            self.post_message(self.Refused(unchanged))
            return
        self._rows.repaint()
        self._explain()
        self.post_message(self.PlanChanged(editor.rules))

    def _show_facts(self, facts: LayerFacts) -> None:
        before, self._facts = available_columns(self._facts), facts
        if (available := available_columns(facts)) != before:
            self.refresh_bindings()
        if self._column not in available:
            self._column = PARAMETERS
        self._show_column()

    def _show_column(self) -> None:
        self._rows.show_column(self._column, self._facts)
        self.post_message(self.ColumnShown(column_title(self._column, self._facts)))

    def _explain(self) -> None:
        """Show state and deciding rule of the layer under the cursor."""
        if self._editor is None:
            return
        path, why = self.path, self._editor.why(self.path)
        state = self._editor.state(path)
        words = [_WORDS[state], *([] if state == "none" else [why]), *(["pending"] if path in self._pending else [])]
        name, width, dot = path or self._editor.network.name, self.size.width - 2, f" {self._glyphs.separator} "
        rest = dot.join(["", *words])
        origin = self._facts.origins.get(path)
        if origin and len(name + rest) + len(also := f"{dot}weights {origin}") <= width:  # the rule comes first
            rest += also
        name = safe(name, max(8, width - len(rest)), self._glyphs.ellipsis)
        self._why.update(Content(name + rest), layout=False)
        if (path, why) != self._explained:
            self._explained = (path, why)
            self.post_message(self.Highlighted(path, why))
