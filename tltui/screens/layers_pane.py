"""The left half of the workbench: the layer tree, or what stands in its place until there is one."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.config import layer_tree
from engine.config.schema import FreezeConfig
from engine.errors import InputError
from tltui.engine_client.queries import EngineQueries, TreeKey
from tltui.freeze_plan.editor import PlanEditor
from tltui.freeze_plan.layer_columns import LayersAtWork
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.layer_tree import LayerTree


class LayersPane(Vertical):
    """Loads trees without making anyone wait and keeps the plan that is being edited."""

    manual_topic = "freezing"

    DEFAULT_CSS = """
    LayersPane > #in-place-of-tree { padding: 1 2; color: $text-muted; }
    LayersPane > LayerTree { display: none; }
    LayersPane.-loaded > LayerTree { display: block; }
    LayersPane.-loaded > #in-place-of-tree { display: none; }
    """

    @dataclass
    class PlanEdited(Message):
        """The user changed the plan."""

        rules: list[str]

    @dataclass
    class Loaded(Message):
        """A tree is there. ``refused``: why the plan in force does not fit it, so that the head alone trains now."""

        refused: str

    def __init__(self, queries: EngineQueries, glyphs: Glyphs) -> None:
        super().__init__(id="layers", classes="pane")
        self.editor: PlanEditor | None = None
        self._queries = queries
        self._glyphs = glyphs
        self._shown: TreeKey | None = None
        self._tree = LayerTree(glyphs)
        self._instead = Static(id="in-place-of-tree")

    def compose(self) -> ComposeResult:
        yield self._tree
        yield self._instead

    def want(self, wanted: TreeKey, rules: list[str]) -> None:
        """Show the tree of a network as soon as the engine has told it."""
        if wanted == self._shown:
            return
        if self._shown is None or self._shown.model != wanted.model:
            self._show_instead(f"Reading the layers of {safe(wanted.model)}{self._glyphs.ellipsis}")
        self._load(wanted, rules)

    def show_placeholder(self, text: str) -> None:
        """Say why there is no tree yet; the tree of a draft with the same network stays."""
        if self.editor is None:
            self._show_instead(text)

    def show_model(self, tree: layer_tree.LayerTree, rules: list[str]) -> None:
        """Show a tree that is at hand: the run's own."""
        refused = ""
        try:
            self.editor = PlanEditor(tree, rules)
        except InputError as error:
            refused = str(error)
            self.editor = PlanEditor(tree, FreezeConfig().rules)
        self.add_class("-loaded")
        self._tree.show(self.editor)
        self.post_message(self.Loaded(refused))

    def take_rules(self, rules: list[str]) -> None:
        """Show a plan that came from elsewhere: the form, the engine. Raises InputError where it does not fit."""
        if self.editor is not None and rules != self.editor.rules:
            self.editor.set_rules(rules)
            self._tree.show(self.editor)

    def show_pending(self, applied: list[str] | None) -> None:
        """Mark what differs from the plan that the engine has applied; None: nothing waits for an answer."""
        if self.editor is not None:
            self._tree.show(self.editor, self.editor.changed_since(applied) if applied is not None else frozenset())

    @property
    def cursor_path(self) -> str:
        """The layer under the cursor; "" is the network itself."""
        return self._tree.path

    def show_at_work(self, at_work: LayersAtWork) -> None:
        """Show what layers do in a run."""
        self._tree.show_at_work(at_work)

    def focus_tree(self) -> None:
        """Put the cursor on the layers."""
        self._tree.focus()

    @work(exclusive=True, exit_on_error=False)
    async def _load(self, wanted: TreeKey, rules: list[str]) -> None:
        try:
            tree = await self._queries.layer_tree(wanted)
        except InputError as error:
            self._shown = None
            self._show_instead(f"The layers can't be shown: {safe(str(error))}")
            return
        self._shown = wanted
        self.show_model(tree, rules if self.editor is None else self.editor.rules)

    def _show_instead(self, text: str) -> None:
        self.remove_class("-loaded")
        self._instead.update(Content(text))

    @on(LayerTree.PlanChanged)
    def _edited(self, event: LayerTree.PlanChanged) -> None:
        event.stop()
        self.post_message(self.PlanEdited(event.rules))

    @on(LayerTree.FigureShown)
    def _figure_shown(self, event: LayerTree.FigureShown) -> None:
        event.stop()
        if str(self.border_subtitle or "") != event.title:  # set anew it would have the whole pane sent
            self.border_subtitle = Content(event.title)

    @on(LayerTree.Refused)
    def _refused(self, event: LayerTree.Refused) -> None:
        event.stop()
        self.notify(event.reason, markup=False, timeout=3)
