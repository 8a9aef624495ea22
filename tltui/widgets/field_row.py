"""One setting on one line: mark, name, editor, and its range, note or problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from engine.config.choices import choices_of
from engine.config.schema import is_list_of_tables
from tltui.settings.draft import FIELDS, default, from_text, range_of, to_text
from tltui.text.glyphs import ASCII, UNICODE, Glyphs, safe
from tltui.widgets.choice import Choice
from tltui.widgets.path_input import PathInput
from tltui.widgets.safe_input import SafeInput
from tltui.widgets.summary_field import SummaryField

# Settings with a picker, which ``enter`` opens.
BROWSABLE = {"data.path": "browse", "model.name": "choose", "recipe.phases": "choose"}


_IN_ASCII = str.maketrans({"≤": "<=", "×": "x", "÷": "/", "…": "..", "–": "-"})


def written(text: str, glyphs: Glyphs) -> str:
    """Text of the schema or of an error, in ASCII where ``glyphs`` are."""
    return text.translate(_IN_ASCII) if glyphs is ASCII else text


@dataclass(frozen=True)
class FieldState:
    """The state of a setting; ``note`` says "sent", "refused" or since which step it is live."""

    changed: bool = False
    problem: str = ""
    locked: bool = False
    note: str = ""


class FieldRow(Horizontal):
    """Shows one setting and posts edits. Validation is elsewhere."""

    DEFAULT_CSS = """
    FieldRow { height: 1; }
    FieldRow > _Label { width: 22; }
    FieldRow > .editor { width: 35; }
    FieldRow > Input { background: $foreground 6%; }
    FieldRow > Input:focus { background: $primary 20%; }
    FieldRow > _Hint { width: 1fr; padding: 0 0 0 2; color: $text-muted; }
    FieldRow > _Hint.-problem { color: $text-error; }
    FieldRow > _Hint.-note { color: $text-accent; }
    FieldRow.-locked > _Label { color: $text-muted; }
    FieldRow.-focused > _Label { text-style: bold; }
    """

    @dataclass
    class Edited(Message):
        """The user edited the value, which may be invalid."""

        key: str
        value: Any

    @dataclass
    class Entered(Message):
        """The user pressed enter in the editor."""

        key: str

    def __init__(self, key: str, value: object, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=f"field-{key.replace('.', '-')}")
        self.key = key
        self._glyphs = glyphs
        self._editor = _editor(key, value, glyphs)
        self._editor.add_class("editor")
        self._label_cell = _Label(key, glyphs)
        self._hint = _Hint(key, glyphs)

    def compose(self) -> ComposeResult:
        yield self._label_cell
        yield self._editor
        yield self._hint

    @property
    def manual_topic(self) -> str:
        """Manual topic of the focused setting."""
        return self.key

    @property
    def editor(self) -> Widget:
        """The widget that takes the keys."""
        return self._editor

    def show_value(self, value: object) -> None:
        """Show a value from outside."""
        if isinstance(self._editor, Choice):
            self._editor.value = value
        elif isinstance(self._editor, SummaryField):
            self._editor.show(to_text(value))
        elif isinstance(self._editor, Input) and from_text(self.key, self._editor.value) != value:
            with self._editor.prevent(Input.Changed):
                self._editor.value = to_text(value)

    def show_state(self, state: FieldState) -> None:
        """Mark the row as changed, invalid or locked."""
        self._editor.disabled = state.locked
        self.set_class(state.locked, "-locked")
        self._label_cell.show(state)
        self._hint.show(state)

    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def _mark_focus(self) -> None:
        self.set_class(self._editor.has_focus, "-focused")

    @on(Choice.Picked)
    def _picked(self, event: Choice.Picked) -> None:
        event.stop()
        self.post_message(self.Edited(self.key, event.value))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Edited(self.key, from_text(self.key, event.value)))

    @on(SummaryField.Opened)
    @on(Input.Submitted)
    def _entered(self, event: SummaryField.Opened | Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(self.key))


def _editor(key: str, value: object, glyphs: Glyphs) -> Widget:
    annotation = FIELDS[key].annotation
    if annotation is bool:
        return Choice([(True, "on"), (False, "off")], value, glyphs)
    if is_list_of_tables(FIELDS[key]):
        return SummaryField(to_text(value), glyphs)
    if (choices := choices_of(FIELDS[key])) is not None:
        return Choice([(choice, str(choice)) for choice in choices], value, glyphs)
    if key in ("data.path", "model.weights"):
        return PathInput(to_text(value), datasets_only=False)
    return SafeInput(to_text(value), compact=True, select_on_focus=False)


class _Label(Widget):
    """The name of the setting, after a mark: changed or invalid."""

    def __init__(self, key: str, glyphs: Glyphs) -> None:
        super().__init__()
        self._words = key.split(".")[1].replace("_", " ")
        self._glyphs = glyphs
        self._state = FieldState()

    def show(self, state: FieldState) -> None:
        if state != self._state:
            self._state = state
            self.refresh()

    def render(self) -> Content:
        state = self._state
        if state.problem:
            mark = Content.styled(self._glyphs.failed, "$text-error")
        elif state.changed:
            mark = Content.styled(self._glyphs.marked, "$text-accent")
        else:
            mark = Content(" ")
        return Content.assemble(" ", mark, " ", Content(self._words))


class _Hint(Widget):
    """Problem or note, else range and default, as wide as there is room."""

    def __init__(self, key: str, glyphs: Glyphs) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._state = FieldState()
        self._dot = f" {glyphs.separator} "
        is_choice = FIELDS[key].annotation is bool or choices_of(FIELDS[key]) is not None
        self._range = "" if is_choice else written(range_of(key), glyphs)
        self._default = f"default {to_text(default(key))}" if to_text(default(key)) else ""
        self._browse = f"enter: {BROWSABLE[key]}" if key in BROWSABLE else ""

    def show(self, state: FieldState) -> None:
        if state != self._state:
            self._state = state
            self.set_class(bool(state.problem), "-problem")
            self.set_class(bool(state.note), "-note")
            self.refresh()

    def render(self) -> Content:
        room = self.content_size.width
        state = self._state
        message = state.problem or state.note or ("locked" if state.locked else "")
        if message:
            return Content(safe(written(message, self._glyphs), room, self._glyphs.ellipsis))
        shortest = self._browse or (self._default if state.changed else self._range or self._default)
        full = self._dot.join(filter(None, [self._range, self._default, self._browse]))
        return Content(safe(next((text for text in (full, shortest) if len(text) <= room), "")))
