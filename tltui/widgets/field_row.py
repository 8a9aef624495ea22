"""One setting on one line: mark, name, the widget for its type, and its range or what is wrong with it."""

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
from tltui.widgets.summary_field import InShort

# Settings that a dialog helps to fill in: ``enter`` opens it.
BROWSABLE = {"data.path": "browse", "model.name": "choose", "recipe.phases": "choose"}


_IN_ASCII = str.maketrans({"≤": "<=", "×": "x", "÷": "/", "…": "..", "–": "-"})


def written(text: str, glyphs: Glyphs) -> str:
    """Words of the schema and of its errors, in the characters that the terminal has."""
    return text.translate(_IN_ASCII) if glyphs is ASCII else text


@dataclass(frozen=True)
class Standing:
    """How a setting stands: ``note`` is what is going on with it (sent, applied), ``locked`` why it can't change."""

    changed: bool = False
    problem: str = ""
    locked: bool = False
    note: str = ""


class FieldRow(Horizontal):
    """Shows one setting and says what the user made of it. What is right and wrong is not decided here."""

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
        """The user changed the value; it may be wrong."""

        key: str
        value: Any

    @dataclass
    class Entered(Message):
        """The user pressed enter on the value."""

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
        """What the manual is asked for where the setting has the focus."""
        return self.key

    @property
    def editor(self) -> Widget:
        """The widget that takes the keys."""
        return self._editor

    def show_value(self, value: object) -> None:
        """Show a value that came from elsewhere."""
        if isinstance(self._editor, Choice):
            self._editor.value = value
        elif isinstance(self._editor, InShort):
            self._editor.show(to_text(value))
        elif isinstance(self._editor, Input) and from_text(self.key, self._editor.value) != value:
            with self._editor.prevent(Input.Changed):
                self._editor.value = to_text(value)

    def show_standing(self, standing: Standing) -> None:
        """Mark the row as changed, wrong, locked …"""
        self._editor.disabled = standing.locked
        self.set_class(standing.locked, "-locked")
        self._label_cell.show(standing)
        self._hint.show(standing)

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

    @on(InShort.Opened)
    @on(Input.Submitted)
    def _entered(self, event: InShort.Opened | Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(self.key))


def _editor(key: str, value: object, glyphs: Glyphs) -> Widget:
    annotation = FIELDS[key].annotation
    if annotation is bool:
        return Choice([(True, "on"), (False, "off")], value, glyphs)
    if is_list_of_tables(FIELDS[key]):
        return InShort(to_text(value), glyphs)
    if (choices := choices_of(FIELDS[key])) is not None:
        return Choice([(choice, str(choice)) for choice in choices], value, glyphs)
    if key in ("data.path", "model.weights"):
        return PathInput(to_text(value), folders_only=False)
    return SafeInput(to_text(value), compact=True, select_on_focus=False)


class _Label(Widget):
    """The setting's name, and before it a mark: changed, wrong or locked."""

    def __init__(self, key: str, glyphs: Glyphs) -> None:
        super().__init__()
        self._words = key.split(".")[1].replace("_", " ")
        self._glyphs = glyphs
        self._standing = Standing()

    def show(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            self.refresh()

    def render(self) -> Content:
        standing = self._standing
        if standing.problem:
            mark = Content.styled(self._glyphs.failed, "$text-error")
        elif standing.changed:
            mark = Content.styled(self._glyphs.marked, "$text-accent")
        else:
            mark = Content(" ")
        return Content.assemble(" ", mark, " ", Content(self._words))


class _Hint(Widget):
    """Range and default, or in their place what is wrong or going on; as much as the width takes."""

    def __init__(self, key: str, glyphs: Glyphs) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._standing = Standing()
        self._dot = f" {glyphs.separator} "
        is_choice = FIELDS[key].annotation is bool or choices_of(FIELDS[key]) is not None
        self._range = "" if is_choice else written(range_of(key), glyphs)
        self._default = f"default {to_text(default(key))}" if to_text(default(key)) else ""
        self._browse = f"enter: {BROWSABLE[key]}" if key in BROWSABLE else ""

    def show(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            self.set_class(bool(standing.problem), "-problem")
            self.set_class(bool(standing.note), "-note")
            self.refresh()

    def render(self) -> Content:
        room = self.content_size.width
        standing = self._standing
        said = standing.problem or standing.note or ("locked" if standing.locked else "")
        if said:
            return Content(safe(written(said, self._glyphs), room, self._glyphs.ellipsis))
        telling = self._browse or (self._default if standing.changed else self._range or self._default)
        full = self._dot.join(filter(None, [self._range, self._default, self._browse]))
        return Content(safe(next((text for text in (full, telling) if len(text) <= room), "")))
