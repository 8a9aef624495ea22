"""The layers pane of a workbench: the layer tree, or a placeholder until it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.config import layer_tree
from engine.config.schema import FreezeConfig
from engine.errors import InputError
from engine.runs.events import WeightsReport
from tltui.engine_client.queries import EngineQueries, TreeKey
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import LayerStats
from tltui.freeze_plan.layer_index import LayerIndex
from tltui.freeze_plan.weight_origins import expected_origins, reported_origins
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.layer_tree import LayerTree


class LayersPane(Vertical):
    """Loads layer trees in the background and keeps the plan under edit."""

    manual_topic = "freezing"

    DEFAULT_CSS = """
    LayersPane > #placeholder { padding: 1 2; color: $text-muted; }
    LayersPane > LayerTree { display: none; }
    LayersPane.-loaded > LayerTree { display: block; }
    LayersPane.-loaded > #placeholder { display: none; }
    """

    @dataclass
    class PlanEdited(Message):
        """The user changed the plan."""

        rules: list[str]

    @dataclass
    class Loaded(Message):
        """A tree is loaded. ``refused``: why the plan does not fit it and was replaced by head only, or ""."""

        refused: str

    def __init__(self, queries: EngineQueries, glyphs: Glyphs) -> None:
        super().__init__(id="layers", classes="pane")
        self.editor: PlanEditor | None = None
        self._queries = queries
        self._glyphs = glyphs
        self._shown: TreeKey | None = None
        self._shown_weights: tuple[LayerIndex, WeightsReport | str] | None = None
        self._column = self._note = ""
        self._tree = LayerTree(glyphs)
        self._placeholder = Static(id="placeholder")

    def compose(self) -> ComposeResult:
        yield self._tree
        yield self._placeholder

    def load(self, key: TreeKey, rules: list[str]) -> None:
        """Show the tree of a network once the engine has sent it."""
        if key == self._shown:
            return
        if self._shown is None or self._shown.model != key.model:
            self._replace_tree(f"Loading layers of {safe(key.model)}{self._glyphs.ellipsis}")
        self._fetch(key, rules)

    def show_placeholder(self, text: str) -> None:
        """Show ``text`` where there is no tree yet; the tree of the draft stays."""
        if self.editor is None:
            self._replace_tree(text)

    def show_model(self, tree: layer_tree.LayerTree, rules: list[str]) -> None:
        """Show a layer tree."""
        refused = ""
        try:
            self.editor = PlanEditor(tree, rules)
        except InputError as error:
            refused = str(error)
            self.editor = PlanEditor(tree, FreezeConfig().rules)
        self.add_class("-loaded")
        self._tree.show(self.editor)
        self.post_message(self.Loaded(refused))

    def show_rules(self, rules: list[str]) -> None:
        """Show a plan from the form or the engine. Raises InputError where it does not fit the tree."""
        if self.editor is not None and rules != self.editor.rules:
            self.editor.set_rules(rules)
            self._tree.show(self.editor)

    def show_pending(self, applied: list[str] | None) -> None:
        """Mark layers that differ from the ``applied`` plan; None: no change is pending."""
        if self.editor is not None:
            self._tree.show(self.editor, self.editor.changed_since(applied) if applied is not None else frozenset())

    @property
    def cursor_path(self) -> str:
        """Path of the layer under the cursor; "" is the network."""
        return self._tree.path

    def show_stats(self, stats: LayerStats) -> None:
        """Show the layers' statistics in a run."""
        self._tree.show_stats(stats)

    def show_weights(self, weights: WeightsReport | str) -> None:
        """Show where initial weights come from: as a run reported, or as ``model.weights`` of a draft says."""
        network = self.editor.network if self.editor else None
        if network is None or (network, weights) == self._shown_weights:
            return
        self._shown_weights = network, weights
        if isinstance(weights, str):
            self._tree.show_origins(expected_origins(network, weights), reported=False)
        else:
            self._tree.show_origins(reported_origins(network, weights), reported=True)

    def show_note(self, note: str) -> None:
        """Show a note on the border, where no other column than the parameters is shown."""
        self._note = note
        self._show_subtitle()

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the tree."""
        self._tree.focus(scroll_visible)
        return self

    @work(exclusive=True, exit_on_error=False)
    async def _fetch(self, key: TreeKey, rules: list[str]) -> None:
        try:
            tree = await self._queries.layer_tree(key)
        except InputError as error:
            self._shown = None
            self._replace_tree(f"Layers can't be loaded: {safe(str(error))}")
            return
        self._shown = key
        self.show_model(tree, rules if self.editor is None else self.editor.rules)

    def _replace_tree(self, text: str) -> None:
        self.remove_class("-loaded")
        self._placeholder.update(Content(text))

    @on(LayerTree.PlanChanged)
    def _edited(self, event: LayerTree.PlanChanged) -> None:
        event.stop()
        self.post_message(self.PlanEdited(event.rules))

    @on(LayerTree.ColumnShown)
    def _column_shown(self, event: LayerTree.ColumnShown) -> None:
        event.stop()
        self._column = event.title
        self._show_subtitle()

    def _show_subtitle(self) -> None:
        subtitle = self._column or self._note
        if str(self.border_subtitle or "") != subtitle:  # setting it redraws the whole pane
            self.border_subtitle = Content(subtitle)

    @on(LayerTree.Refused)
    def _refused(self, event: LayerTree.Refused) -> None:
        event.stop()
        self.notify(event.reason, markup=False, timeout=3)
