"""The settings form, generated from the config schema: one row per setting, help for the focused one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.config.messages import allowed
from engine.config.schema import RunConfig, is_live
from tltui.settings.draft import FIELDS, SettingsDraft, default, to_text
from tltui.text.glyphs import UNICODE, Glyphs
from tltui.widgets.field_row import BROWSABLE, FieldRow, FieldState, written

Mode = Literal["draft", "live", "over"]

_SECTION_TITLES = {"train": "Training"}


class _Fields(VerticalScroll, inherit_bindings=False):
    """Scrolls to the focused setting. Inherits no keys: they would hide those of the form."""


class ConfigForm(Vertical):
    """Shows and edits settings.

    ``mode`` "draft": all settings are editable; "live": those of a running run, each sent with enter; "over": none.
    """

    DEFAULT_CSS = """
    ConfigForm > _Fields { height: 1fr; scrollbar-size-vertical: 1; }
    ConfigForm .section { color: $text-primary; text-style: bold; padding: 1 0 0 1; height: 2; }
    ConfigForm .section.-first { padding: 0 0 0 1; height: 1; }
    ConfigForm > .help { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ConfigForm > .facts { color: $text-muted; }
    ConfigForm > .facts.-problem { color: $text-error; }
    ConfigForm > #what { height: 2; border-top: solid $foreground 20%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "previous setting", id="form.previous", show=False),
        Binding("down", "move(1)", "next setting", id="form.next", show=False),
        Binding("pageup", "move_section(-1)", "previous section", id="form.previous_section", show=False),
        Binding("pagedown", "move_section(1)", "next section", id="form.next_section", show=False),
        Binding("ctrl+r", "reset", "reset setting to default", id="form.reset", show=False),
        Binding("escape", "leave_field", "leave the field", id="form.leave", show=False),
    ]

    @dataclass
    class Changed(Message):
        """The user changed a setting of the draft."""

        key: str

    @dataclass
    class Sent(Message):
        """The user sends a live setting to the run."""

        key: str
        value: Any

    @dataclass
    class Browse(Message):
        """The user opens the picker of a setting."""

        key: str

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], *, mode: Mode = "draft", glyphs: Glyphs = UNICODE
    ) -> None:
        super().__init__()
        self.draft = SettingsDraft(tables)
        self.mode: Mode = mode
        self._glyphs = glyphs
        self._notes: dict[str, str] = {}
        self._rows = {key: FieldRow(key, self.draft[key], glyphs) for key in FIELDS}
        self._what = Static(id="what", classes="help")
        self._facts = Static(classes="help facts")

    def compose(self) -> ComposeResult:
        with _Fields():
            section = ""
            for key, row in self._rows.items():
                if (name := key.split(".")[0]) != section:
                    title = Static(_SECTION_TITLES.get(name, name.capitalize()), id=f"section-{name}")
                    yield title.add_class("section", *([] if section else ["-first"]))
                    section = name
                yield row
        yield self._what
        yield self._facts

    def on_mount(self) -> None:
        self._show_states()
        self._show_help()

    # Values from outside

    def load(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all settings."""
        self.draft = SettingsDraft(tables)
        self._notes.clear()
        for key, row in self._rows.items():
            row.show_value(self.draft[key])
        self._show_states()
        self._show_help()

    def put(self, key: str, value: Any) -> None:  # noqa: ANN401 (a setting's value has whatever type the setting has)
        """Set a value from the layer tree, a picker or the engine."""
        self.draft[key] = value
        self._rows[key].show_value(value)
        self._show_states()

    def note(self, key: str, text: str) -> None:
        """Show a note beside a setting; an empty text removes it."""
        self._notes[key] = text
        self._show_states()

    def set_mode(self, mode: Mode) -> None:
        """Lock or unlock settings as the run starts and finishes."""
        if mode != self.mode:
            self.mode = mode
            self._notes.clear()
            self._show_states()
            self._show_help()

    def config(self) -> RunConfig:
        """The settings as a config. Raises InputError."""
        return self.draft.config()

    def focus_setting(self, key: str) -> None:
        """Focus a setting."""
        self._rows[key].editor.focus()

    def focus_first_problem(self) -> None:
        """Focus the first invalid setting."""
        for key in self.draft.problems():
            self.focus_setting(key)
            return

    # Edits of the user

    @on(FieldRow.Edited)
    def _edited(self, event: FieldRow.Edited) -> None:
        event.stop()
        if event.value == self.draft[event.key]:  # inputs also post their initial value
            return
        self.draft[event.key] = event.value
        if self.mode == "live":
            self._notes[event.key] = "enter: send"
        self._show_states()
        self._show_help()
        if self.mode == "draft":
            self.post_message(self.Changed(event.key))

    @on(FieldRow.Entered)
    def _entered(self, event: FieldRow.Entered) -> None:
        event.stop()
        if self.mode == "draft" and event.key in BROWSABLE:
            self.post_message(self.Browse(event.key))
        elif self.mode == "live" and not self.draft.problem(event.key):
            self.post_message(self.Sent(event.key, self.draft[event.key]))
        elif self.mode == "draft":
            self.action_move(1)

    def action_move(self, by: int) -> None:
        """Focus the next or previous editable setting."""
        keys = [key for key in self._rows if self._is_editable(key)]
        if not keys:
            self.query_one(_Fields).scroll_relative(y=by, animate=False)
            return
        focused = self._focused()
        if focused is None:
            at = 0 if by > 0 else len(keys) - 1
        else:
            at = min(max(keys.index(focused) + by, 0), len(keys) - 1) if focused in keys else 0
        self._focus_now(keys[at])

    def action_move_section(self, by: int) -> None:
        """Focus the first editable setting of the next or previous section."""
        keys = [key for key in self._rows if self._is_editable(key)]
        if not keys:
            self.query_one(_Fields).scroll_relative(y=by * self.size.height // 2, animate=False)
            return
        sections = list(dict.fromkeys(key.split(".")[0] for key in keys))
        focused = self._focused()
        at = sections.index(focused.split(".")[0]) if focused in keys else -by
        section = sections[min(max(at + by, 0), len(sections) - 1)]
        self._focus_now(next(key for key in keys if key.startswith(f"{section}.")))

    def action_reset(self) -> None:
        """Reset the focused setting to its default."""
        key = self._focused()
        if key is not None and self._is_editable(key):
            self._rows[key].show_value(default(key))
            self._edited(FieldRow.Edited(key, default(key)))

    def action_leave_field(self) -> None:
        """Leave the field, so that letters are keys again."""
        self.query_one(_Fields).focus()

    @on(events.DescendantFocus)
    def _focus_moved(self) -> None:
        self._show_help()

    # Display

    def _focus_now(self, key: str) -> None:
        """Focus a setting before the next key is handled, so that a held key loses no press."""
        self.screen.set_focus(self._rows[key].editor)

    def _focused(self) -> str | None:
        focused = self.screen.focused
        return next((key for key, row in self._rows.items() if row.editor is focused), None)

    def _is_editable(self, key: str) -> bool:
        return self._rows[key].display and not self._is_locked(key)

    def _is_locked(self, key: str) -> bool:
        return self.mode == "over" or (self.mode == "live" and not is_live(key))

    def _show_states(self) -> None:
        problems = self.draft.problems()
        shown = set()
        for key, row in self._rows.items():
            row.display = self.draft.has_effect(key) or key in problems
            if row.display:
                shown.add(key.split(".")[0])
            row.show_state(
                FieldState(
                    changed=self.draft.is_changed(key),
                    problem=problems.get(key, ""),
                    locked=self._is_locked(key),
                    note=self._notes.get(key, ""),
                )
            )
        for title in self.query(".section"):
            title.display = (title.id or "").removeprefix("section-") in shown

    def _show_help(self) -> None:
        key = self._focused()
        problem = self.draft.problem(key) if key else ""
        self._facts.set_class(bool(problem), "-problem")
        if key is None:
            what, facts = _MODE_HELP[self.mode]
            self._what.update(Content(what))
            self._facts.update(Content(facts))
            return
        facts = problem or f" {self._glyphs.separator} ".join(_facts(key))
        self._what.update(Content.assemble((key, "bold"), written(f"  {FIELDS[key].description}", self._glyphs)))
        self._facts.update(Content(written(facts, self._glyphs)))


def _facts(key: str) -> list[str]:
    """Range, default and key of a setting."""
    facts = [f"default {to_text(default(key)) or 'empty'}", "ctrl+r: reset"]
    if allowed(FIELDS[key]) not in ("text", FIELDS[key].description):
        facts.insert(0, allowed(FIELDS[key]))
    return [*facts, "live: may change during training"] if is_live(key) else facts


_MODE_HELP: dict[Mode, tuple[str, str]] = {
    "draft": ("Settings of a draft. up, down: move", "r: run"),
    "live": (
        "Run is training; unlocked settings are live",
        "enter: send an edited setting to the run",
    ),
    "over": ("Run finished; settings are read-only", "y: new run from these settings"),
}
