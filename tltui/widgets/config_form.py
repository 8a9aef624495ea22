"""The form of a run's settings, made from the schema: one row a setting, help for the one in focus."""

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
from tltui.widgets.field_row import BROWSABLE, FieldRow, Standing, written

Mode = Literal["draft", "live", "over"]

_SECTION_TITLES = {"train": "Training"}


class _Fields(VerticalScroll, inherit_bindings=False):
    """Scrolls with the setting in focus; its own keys would come before those of the form."""


class ConfigForm(Vertical):
    """Settings to look at and to change.

    In ``mode`` "draft" every setting can be edited; "live": those that a training run takes, each sent with
    enter; "over": none.
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
        Binding("ctrl+r", "reset", "reset setting to its default", id="form.reset", show=False),
        Binding("escape", "leave_field", "leave the field", id="form.leave", show=False),
    ]

    @dataclass
    class Changed(Message):
        """A setting of the draft was changed by the user."""

        key: str

    @dataclass
    class Sent(Message):
        """The user wants a live setting changed in the run."""

        key: str
        value: Any

    @dataclass
    class Browse(Message):
        """The user wants help with filling in a setting."""

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
        self._show_standings()
        self._show_help()

    # What others do to the form

    def load(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over all settings of another config."""
        self.draft = SettingsDraft(tables)
        self._notes.clear()
        for key, row in self._rows.items():
            row.show_value(self.draft[key])
        self._show_standings()
        self._show_help()

    def put(self, key: str, value: Any) -> None:  # noqa: ANN401 (a setting's value has whatever type the setting has)
        """Show a value that came from elsewhere: the layer tree, a picker, the engine."""
        self.draft[key] = value
        self._rows[key].show_value(value)
        self._show_standings()

    def note(self, key: str, text: str) -> None:
        """Say beside a setting what is going on with it; an empty text ends that."""
        self._notes[key] = text
        self._show_standings()

    def set_mode(self, mode: Mode) -> None:
        """Lock or unlock settings as the run begins and ends."""
        if mode != self.mode:
            self.mode = mode
            self._notes.clear()
            self._show_standings()
            self._show_help()

    def config(self) -> RunConfig:
        """The settings as a config. Raises InputError."""
        return self.draft.config()

    def focus_setting(self, key: str) -> None:
        """Put the cursor on a setting."""
        self._rows[key].editor.focus()

    def focus_first_problem(self) -> None:
        """Put the cursor on what has to be put right first."""
        for key in self.draft.problems():
            self.focus_setting(key)
            return

    # What the user does

    @on(FieldRow.Edited)
    def _edited(self, event: FieldRow.Edited) -> None:
        event.stop()
        if event.value == self.draft[event.key]:  # inputs also announce the value that they begin with
            return
        self.draft[event.key] = event.value
        if self.mode == "live":
            self._notes[event.key] = "enter sends"
        self._show_standings()
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
        """To the next setting that can be edited, or the one before."""
        keys = [key for key in self._rows if self._is_editable(key)]
        if not keys:
            self.query_one(_Fields).scroll_relative(y=by, animate=False)
            return
        focused = self._focused()
        if focused is None:
            at = 0 if by > 0 else len(keys) - 1
        else:
            at = min(max(keys.index(focused) + by, 0), len(keys) - 1) if focused in keys else 0
        self.focus_setting(keys[at])

    def action_move_section(self, by: int) -> None:
        """To the first setting of the next section, or of the one before."""
        keys = [key for key in self._rows if self._is_editable(key)]
        if not keys:
            self.query_one(_Fields).scroll_relative(y=by * self.size.height // 2, animate=False)
            return
        sections = list(dict.fromkeys(key.split(".")[0] for key in keys))
        focused = self._focused()
        at = sections.index(focused.split(".")[0]) if focused in keys else -by
        section = sections[min(max(at + by, 0), len(sections) - 1)]
        self.focus_setting(next(key for key in keys if key.startswith(f"{section}.")))

    def action_reset(self) -> None:
        """Give the setting in focus its default back."""
        key = self._focused()
        if key is not None and self._is_editable(key):
            self._rows[key].show_value(default(key))
            self._edited(FieldRow.Edited(key, default(key)))

    def action_leave_field(self) -> None:
        """Out of the field, so that letters are keys again."""
        self.query_one(_Fields).focus()

    @on(events.DescendantFocus)
    def _focus_moved(self) -> None:
        self._show_help()

    # What is shown

    def _focused(self) -> str | None:
        focused = self.screen.focused
        return next((key for key, row in self._rows.items() if row.editor is focused), None)

    def _is_editable(self, key: str) -> bool:
        return self._rows[key].display and not self._is_locked(key)

    def _is_locked(self, key: str) -> bool:
        return self.mode == "over" or (self.mode == "live" and not is_live(key))

    def _show_standings(self) -> None:
        problems = self.draft.problems()
        shown = set()
        for key, row in self._rows.items():
            row.display = self.draft.has_effect(key) or key in problems
            if row.display:
                shown.add(key.split(".")[0])
            row.show_standing(
                Standing(
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
    """What there is to know about a setting besides what it means."""
    facts = [f"default {to_text(default(key)) or 'empty'}", "ctrl+r resets"]
    if allowed(FIELDS[key]) not in ("text", FIELDS[key].description):
        facts.insert(0, allowed(FIELDS[key]))
    return [*facts, "may change while training"] if is_live(key) else facts


_MODE_HELP: dict[Mode, tuple[str, str]] = {
    "draft": ("up and down move through the settings", "r runs with them"),
    "live": (
        "what is not locked can change while the run trains",
        "edit one, then enter sends it to the engine",
    ),
    "over": ("the run is over, its settings are history", "y makes a new run with the same settings"),
}
