"""The panes of a workbench: layers on the left, tabs on the right."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    """Shows layers and the chosen tab side by side; on a narrow screen one of them (class ``-work``: the tab)."""

    def __init__(self, layers: Widget, tabs: Mapping[str, Widget], first: str, glyphs: Glyphs) -> None:
        """``tabs``: a widget for each of ``TABS``, with its id; ``first`` is shown first. ``focus`` of a widget focuses
        what its keys act on."""
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
        """The id of the current tab."""
        return self._work.current or next(iter(TABS))

    def switch_to(self, tab: str) -> None:
        """Make a tab the current one; the focus stays."""
        self._work.current = tab
        self._name_tabs()

    def show_layers(self) -> None:
        """Show and focus the layers."""
        self.remove_class("-work")
        self._layers.focus()

    def show_tab(self, tab: str) -> None:
        """Show and focus a tab."""
        self.switch_to(tab)
        self.add_class("-work")
        self.call_after_refresh(self._tabs[tab].focus)

    def show_if_narrow(self, tab: str) -> None:
        """Show and focus a tab on a screen with room for one pane."""
        if self.screen.has_class("-narrow"):
            self.show_tab(tab)

    def show_form(self, focus: Callable[[], None]) -> None:
        """Show the settings, then call ``focus``."""
        self.switch_to("setup")
        self.add_class("-work")
        self.call_after_refresh(focus)

    def focus_next(self) -> None:
        """Focus the next field; on a narrow screen the last one leads to the other pane."""
        screen = self.screen
        last = screen.focus_chain[-1] if screen.focus_chain else None
        if not screen.has_class("-narrow") or screen.focused not in (last, None):
            screen.focus_next()
        elif self.has_class("-work"):
            self.show_layers()
        else:
            self.show_tab(self.tab)

    @on(events.DescendantFocus)
    def _follow_focus(self) -> None:
        focused = self.screen.focused
        self.set_class(focused is not None and self._layers not in focused.ancestors_with_self, "-work")

    def after(self, by: int) -> str:
        """The id of the tab ``by`` places after the current one."""
        tabs = list(TABS)
        return tabs[(tabs.index(self.tab) + by) % len(tabs)]

    @on(events.Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._name_tabs)

    def _name_tabs(self) -> None:
        """Write the tabs as the title of their pane; on a narrow screen the layers are one of them."""
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
