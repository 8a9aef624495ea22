"""The list of keys, from the bindings of the screen below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tltui.keys.keymap import SCOPES, ActionKeys
from tltui.text.glyphs import safe

# Width from which action ids are shown.
_WIDE = 100


class Help(ModalScreen[None]):
    """Lists keys by scope, widgets before app."""

    manual_topic = "keys"

    CSS_PATH = "../widgets/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "close", id="help.close")]

    def __init__(self, actions: Iterable[ActionKeys], keymap_path: str) -> None:
        super().__init__()
        self._actions = list(actions)
        self._keymap_path = keymap_path

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content("Keys")
            with VerticalScroll(classes="text"):
                yield Static(Content("\n\n").join(self._sections()))
            yield Static("up and down scroll  esc close", classes="keys")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _sections(self) -> list[Content]:
        rows = [(bound, ", ".join(map(self._key, bound.keys))) for bound in self._actions]
        key_width = max(len(keys) for _, keys in rows)
        text_width = max(len(bound.description) for bound, _ in rows)
        with_ids = self.app.size.width >= _WIDE
        sections = []
        for scope in [*(scope for scope in SCOPES if scope != "app"), "app"]:
            lines = [
                Content(f"  {keys:<{key_width}}  {bound.description:<{text_width}}  {bound.id if with_ids else ''}")
                for bound, keys in rows
                if bound.scope == scope
            ]
            if lines:
                sections.append(Content("\n").join([Content.styled(SCOPES[scope][0], "bold $text-primary"), *lines]))
        own = (
            f'To change keys, add lines like "workbench.run" = "r,f9" to {safe(self._keymap_path)}\n'
            f"Action names are in the command palette, and here from {_WIDE} columns."
        )
        return [*sections, Content(own)]

    def _key(self, key: str) -> str:
        return self.app.get_key_display(Binding(key, ""))
