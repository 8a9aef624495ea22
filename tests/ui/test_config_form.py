"""The form made from the schema."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual import on
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from engine.config.choices import choices_of
from engine.config.schema import is_list_of_tables, is_live
from tltui.settings.draft import FIELDS
from tltui.text.glyphs import ASCII, UNICODE, Glyphs
from tltui.widgets.choice import Choice
from tltui.widgets.config_form import ConfigForm, Mode
from tltui.widgets.field_row import FieldRow
from tltui.widgets.summary_field import SummaryField


class FormApp(App[None]):
    def __init__(self, tables: dict[str, dict[str, Any]] | None = None, mode: Mode = "draft") -> None:
        super().__init__()
        self._tables, self._mode = tables or {"data": {"source": "digits"}}, mode
        self.sent: list[tuple[str, Any]] = []
        self.browsed: list[str] = []

    def compose(self) -> ComposeResult:
        self.form = ConfigForm(self._tables, mode=self._mode)
        yield self.form

    @on(ConfigForm.Sent)
    def remember(self, event: ConfigForm.Sent) -> None:
        self.sent.append((event.key, event.value))

    @on(ConfigForm.Browse)
    def remember_browse(self, event: ConfigForm.Browse) -> None:
        self.browsed.append(event.key)

    def row(self, key: str) -> FieldRow:
        return self.query_one(f"#field-{key.replace('.', '-')}", FieldRow)

    def line(self, key: str) -> str:
        """A setting's line as it stands on the screen."""
        strips = self.screen._compositor.render_strips()
        return strips[self.row(key).region.y].text


def drive(app: FormApp, test: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 60)) -> None:
    async def main() -> None:
        async with app.run_test(size=size) as pilot:
            await test(pilot)

    asyncio.run(main())


def test_every_setting_has_a_row_with_the_widget_for_its_type():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        for key, field in FIELDS.items():
            chosen = field.annotation is bool or choices_of(field) is not None
            widget = SummaryField if is_list_of_tables(field) else Choice if chosen else Input
            assert isinstance(app.row(key).editor, widget), key

    drive(app, test)


def test_a_wrong_value_is_marked_while_it_is_typed_and_right_again_when_it_is_right():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("train.epochs")
        await pilot.press("x")
        assert "✗ epochs" in app.line("train.epochs")
        assert "takes whole number" in app.line("train.epochs")
        await pilot.press("backspace")
        assert "✗" not in app.line("train.epochs")

    drive(app, test)


def test_a_changed_setting_is_marked_and_shows_its_default():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("train.epochs")
        await pilot.press("5")
        assert app.form.draft["train.epochs"] == 105
        assert "◆ epochs" in app.line("train.epochs")
        assert "default 10" in app.line("train.epochs")

    drive(app, test)


def test_ctrl_r_gives_a_setting_its_default_back():
    app = FormApp({"data": {"source": "digits"}, "optimizer": {"name": "sgd", "lr": 0.5}})

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("optimizer.lr")
        await pilot.press("ctrl+r")
        app.form.focus_setting("optimizer.name")
        await pilot.press("ctrl+r")
        assert app.form.draft["optimizer.lr"] == 0.001
        assert app.form.draft["optimizer.name"] == "adamw"
        assert "0.001" in app.line("optimizer.lr")
        assert "‹adamw›" in app.line("optimizer.name")

    drive(app, test)


def test_momentum_appears_with_the_optimizer_that_has_it():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        assert not app.row("optimizer.momentum").display
        app.form.focus_setting("optimizer.name")
        await pilot.press("right", "right")
        assert app.form.draft["optimizer.name"] == "sgd"
        assert app.row("optimizer.momentum").display

    drive(app, test)


@pytest.mark.parametrize("width", [80, 120])
def test_the_chosen_one_of_many_options_is_in_view(width: int):
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        for key in ("data.source", "data.task", "train.loss", "train.score"):
            app.form.focus_setting(key)
            for _ in choices_of(FIELDS[key]) or ():
                await pilot.press("right")
                assert f"‹{app.form.draft[key]}›" in app.line(key)

    drive(app, test, (width, 60))


@pytest.mark.parametrize(
    ("glyphs", "first", "last"),
    [
        (UNICODE, "‹red› green …", "… green ‹blue›"),
        (ASCII, "[red] green ..", ".. green [blue]"),
    ],
)
def test_an_ellipsis_stands_for_options_without_room_and_is_clicked_to_reach_them(
    glyphs: Glyphs, first: str, last: str
):
    class ChoiceApp(App[None]):
        CSS = "Choice { width: 16; }"

        def compose(self) -> ComposeResult:
            yield Choice([(word, word) for word in ("red", "green", "blue")], "red", glyphs)

    async def main() -> None:
        app = ChoiceApp()
        async with app.run_test() as pilot:
            choice = app.query_one(Choice)
            assert str(choice.render()) == first
            await pilot.click(Choice, offset=(len(first) - 1, 0))
            assert (choice.value, str(choice.render())) == ("blue", last)
            await pilot.click(Choice, offset=(0, 0))
            assert choice.value == "red"

    asyncio.run(main())


def test_up_and_down_go_through_what_is_shown():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("data.source")
        await pilot.press("down")
        assert app.focused is app.row("data.task").editor
        await pilot.press("up")
        assert app.focused is app.row("data.source").editor
        await pilot.press("pagedown")
        assert app.focused is app.row("model.name").editor

    drive(app, test)


def test_a_held_key_loses_no_press():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        shown = [key for key in FIELDS if app.row(key).display]
        app.form.focus_setting(shown[0])
        await pilot.pause()
        for _ in range(12):
            app.post_message(Key("down", None))
        await pilot.pause()
        assert app.focused is app.row(shown[12]).editor

    drive(app, test)


def test_the_setting_in_focus_is_explained_in_full():
    app = FormApp()

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("optimizer.clip_norm")
        await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "gradients are scaled down to this norm; 0: off" in shown
        assert "live: may change" in shown

    drive(app, test)


def test_enter_on_a_path_or_a_network_asks_for_a_dialog():
    app = FormApp({"data": {"path": "images"}})

    async def test(pilot: Pilot[None]) -> None:
        for key in ("data.path", "model.name"):
            app.form.focus_setting(key)
            await pilot.press("enter")
        assert app.browsed == ["data.path", "model.name"]

    drive(app, test)


def test_while_a_run_trains_only_what_it_takes_can_be_edited():
    app = FormApp(mode="live")

    async def test(pilot: Pilot[None]) -> None:
        for key in FIELDS:
            assert app.row(key).editor.disabled != is_live(key), key
        assert "locked" in app.line("train.batch_size")
        assert "locked" not in app.line("optimizer.lr")

    drive(app, test)


def test_a_live_setting_is_sent_with_enter_and_not_before():
    app = FormApp(mode="live")

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("optimizer.lr")
        await pilot.press("5")
        assert app.sent == []
        assert "enter: send" in app.line("optimizer.lr")
        await pilot.press("enter")
        assert app.sent == [("optimizer.lr", 0.0015)]

    drive(app, test)


def test_a_wrong_live_setting_is_not_sent():
    app = FormApp(mode="live")

    async def test(pilot: Pilot[None]) -> None:
        app.form.focus_setting("optimizer.lr")
        await pilot.press("x", "enter")
        assert app.sent == []

    drive(app, test)


def test_a_value_with_escape_codes_is_shown_without_them():
    app = FormApp({"data": {"path": "a\x1b[31mb"}})

    async def test(pilot: Pilot[None]) -> None:
        assert "\x1b" not in app.line("data.path")
        assert app.form.draft["data.path"] == "a\x1b[31mb"

    drive(app, test)
