"""The panes of a workbench: the layers, and tabs with what is done with them."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from tltui.text.glyphs import Glyphs
from tltui.widgets.choice import in_brackets

_LAYERS = {"layers": ("F2", "Layers")}
TABS = {"setup": ("F3", "Setup"), "train": ("F4", "Train"), "evaluate": ("F5", "Evaluate")}
"""The tabs by the ids of their widgets: key and name."""


class Panes(Container):
    """Layers on the left, the chosen tab on the right; on a narrow screen they take turns, as its stylesheet has it."""

    def __init__(self, layers: Widget, tabs: Mapping[str, Widget], first: str, glyphs: Glyphs) -> None:
        """``tabs``: a widget for each of ``TABS``, with its id; ``first`` is shown first."""
        super().__init__(id="panes")
        self._layers = layers
        self._tabs = tabs
        self._glyphs = glyphs
        self._work = ContentSwitcher(initial=first, id="work", classes="pane")

    def compose(self) -> ComposeResult:
        yield self._layers
        with self._work:
            yield from self._tabs.values()

    def on_mount(self) -> None:
        self._name_tabs()

    @property
    def tab(self) -> str:
        """The tab that is shown."""
        return self._work.current or next(iter(TABS))

    def switch_to(self, tab: str) -> None:
        """Show another tab."""
        self._work.current = tab
        self._name_tabs()

    def after(self, by: int) -> str:
        """The tab that comes so many after the one that is shown."""
        tabs = list(TABS)
        return tabs[(tabs.index(self.tab) + by) % len(tabs)]

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._name_tabs)

    def _name_tabs(self) -> None:
        """The tabs as the title of their pane; where panes take turns, the layers are one of them."""
        tabs = self._titles(TABS, self.tab)
        if self.screen.has_class("-narrow"):
            layers = Content(" ").join([self._titles(_LAYERS, "layers"), self._titles(TABS, "")])
            tabs = Content(" ").join([self._titles(_LAYERS, ""), tabs])
        else:
            layers = Content("F2 Layers")
        self._layers.border_title = layers
        self._work.border_title = tabs

    def _titles(self, titles: Mapping[str, tuple[str, str]], shown: str) -> Content:
        parts = [
            Content.styled(f"{key}{in_brackets(word, self._glyphs)}", "bold")
            if name == shown
            else Content(f"{key} {word} ")
            for name, (key, word) in titles.items()
        ]
        return Content(" ").join(parts)
