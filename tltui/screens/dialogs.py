"""Small dialogs: confirm, choose, ask for a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from tltui.text.glyphs import safe
from tltui.widgets.path_input import PathInput


class Confirm(ModalScreen[str | None]):
    """A question with a few answers; the first has the focus, ``escape`` gives None."""

    CSS_PATH = "../widgets/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", id="dialog.cancel"),
        Binding("left,up", "app.focus_previous", "previous answer", id="dialog.previous", show=False),
        Binding("right,down", "app.focus_next", "next answer", id="dialog.next", show=False),
    ]

    def __init__(self, title: str, text: str, answers: Mapping[str, str]) -> None:
        """``answers``: result → label of its button."""
        super().__init__()
        self._title = title
        self._text = text
        self._answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -question") as dialog:
            dialog.border_title = Content(self._title)
            yield Static(Content(self._text), classes="text")
            with Horizontal(classes="answers"):
                for answer, words in self._answers.items():
                    yield Button(Content(words), id=answer, compact=True)

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)


class AskPath(ModalScreen[Path | None]):
    """Asks for the path of a file."""

    CSS_PATH = "../widgets/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "cancel", id="dialog.cancel")]

    def __init__(self, title: str, start: Path) -> None:
        super().__init__()
        self._title = title
        self._start = start

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -path") as dialog:
            dialog.border_title = Content(self._title)
            yield PathInput(str(self._start), datasets_only=False, id="path")
            yield Static("enter accept  tab complete  esc cancel", classes="keys")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(Path(event.value.strip()).expanduser())


class Choose(ModalScreen[str | None]):
    """Asks for one of several options."""

    CSS_PATH = "../widgets/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "cancel", id="dialog.cancel")]

    def __init__(self, title: str, options: Sequence[tuple[str, str]]) -> None:
        """``options``: pairs of result and label."""
        super().__init__()
        self._title = title
        self._options = options

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content(self._title)
            yield OptionList(*(Option(Content(safe(words)), id=id) for id, words in self._options), compact=True)
            yield Static("enter choose  esc cancel", classes="keys")

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
