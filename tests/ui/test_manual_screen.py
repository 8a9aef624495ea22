"""The manual where the user is: in the app, and through a pager."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import app_on, digits, text_of, until
from pseudo_terminal import Terminal
from still_life import app as still_life
from textual.pilot import Pilot
from textual.widgets import OptionList

from tltui.app.app import TltuiApp
from tltui.manual.pages import pages
from tltui.manual.topics import find
from tltui.screens.home import Home
from tltui.screens.manual import Manual, location_for
from tltui.screens.workbench import Workbench
from tltui.widgets.field_row import FieldRow
from tltui.widgets.layer_rows import LayerRows
from tltui.widgets.manual_page import ManualPage


def drive(
    make: Callable[[], TltuiApp],
    test: Callable[[Pilot[int], TltuiApp], Awaitable[None]],
    size: tuple[int, int] = (80, 24),
) -> None:
    """Run the app without a terminal and do something in it."""

    async def main() -> None:
        app = make()
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: isinstance(app.screen, Home | Workbench))
            await test(pilot, app)

    asyncio.run(main())


def page_of(app: TltuiApp) -> str:
    """The id of the page that is shown."""
    page = app.screen.query_one(ManualPage).page
    assert page is not None
    return page.id


async def open_manual(pilot: Pilot[int], key: str = "f1") -> None:
    """Open the manual and wait until a page is there."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Manual) and pilot.app.screen.query_one(ManualPage).page)
    await pilot.pause()


@pytest.mark.parametrize(
    ("key", "topic", "text"),
    [
        ("f2", "freezing", "Freezing"),
        ("f3", "settings", "run.toml"),
        ("f4", "training", "Training and steering"),
        ("f5", "evaluation", "Evaluation"),
        ("question_mark", "keys", "Keys"),
    ],
)
def test_f1_opens_at_what_has_the_focus_and_closes_again(tmp_path: Path, key: str, topic: str, text: str):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "completed" in text_of(app) and app.screen.query(LayerRows))
        await pilot.press(key)
        await until(pilot, lambda: location_for(app.screen) == find(topic))
        before = app.screen
        await open_manual(pilot)
        await until(pilot, lambda: text in text_of(app))
        await pilot.press("f1")
        await until(pilot, lambda: app.screen is before)

    drive(lambda: still_life(tmp_path, run="c0de-flowers-resnet18"), test, (120, 40))


def test_the_settings_open_at_the_setting_that_has_the_focus(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: app.screen.query(FieldRow))
        await pilot.press("f3")
        await until(pilot, lambda: location_for(app.screen) == find("settings"))
        app.screen.query_one("#field-optimizer-lr", FieldRow).editor.focus()
        await until(pilot, lambda: location_for(app.screen) == find("optimizer.lr"))
        await open_manual(pilot)
        await until(pilot, lambda: "optimizer.lr" in text_of(app).splitlines()[2])

    drive(lambda: app_on(tmp_path, draft=digits()), test, (120, 40))


def test_a_letter_opens_it_where_the_terminal_takes_f1_and_both_can_be_changed(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "keymap.toml").write_text('"app.manual" = "f12"')

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("f1")
        assert isinstance(app.screen, Home)
        await open_manual(pilot, "M")
        await pilot.press("q")
        await open_manual(pilot, "f12")
        assert page_of(app) == "quick-start"

    drive(lambda: app_on(tmp_path), test)


def test_where_there_is_no_room_for_both_the_list_and_the_page_take_turns(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        assert "Quick start" in text_of(app)
        assert "troubleshooting" not in text_of(app).split("tltui help")[1]
        await pilot.press("left", "down")
        await until(pilot, lambda: "folders, tables, torchvision datasets" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Your data" in text_of(app) and "torchvision datasets, splits" not in text_of(app))
        await pilot.resize_terminal(120, 24)
        await until(pilot, lambda: "troubleshooting" in text_of(app) and "Your data" in text_of(app))

    drive(lambda: app_on(tmp_path), test)


def test_a_search_shows_lines_of_all_pages_and_leads_to_them_and_back(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        await pilot.press("slash", *"head_frozen")
        await until(pilot, lambda: "1 found" in text_of(app))
        assert "troubleshooting" in text_of(app)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: page_of(app) == "troubleshooting")
        await until(pilot, lambda: "The new classifier is frozen and stays random" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: page_of(app) == "quick-start")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))

    drive(lambda: app_on(tmp_path), test)


def test_words_that_no_page_has_are_said_so_and_escape_leads_back_to_the_page(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        await pilot.press("slash", *"xyzzy")
        await until(pilot, lambda: "no match" in text_of(app))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, Manual) and "Quick start" in text_of(app))
        assert app.screen.query_one(ManualPage).has_focus

    drive(lambda: app_on(tmp_path), test)


def test_links_are_followed_by_the_keyboard_and_escape_leads_back(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: page_of(app) != "quick-start")
        await pilot.press("escape")
        await until(pilot, lambda: page_of(app) == "quick-start")

    drive(lambda: app_on(tmp_path), test)


def test_a_link_is_followed_by_the_mouse(tmp_path: Path):
    target = next(page for page in pages().values() if page.id == "caching")

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await app.run_action("manual('cache')")
        await until(pilot, lambda: isinstance(app.screen, Manual) and "Manual: caching" in text_of(app))
        lines = text_of(app).splitlines()
        y = next(y for y, line in enumerate(lines) if "Manual: caching" in line)
        await pilot.click(offset=(lines[y].index("caching"), y))
        await until(pilot, lambda: page_of(app) == target.id)

    drive(lambda: app_on(tmp_path), test)


def test_the_pages_are_in_the_palette(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("ctrl+p", *"Manual: Freezing")
        await until(pilot, lambda: "choose trainable layers" in text_of(app))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, Manual) and page_of(app) == "freezing")

    drive(lambda: app_on(tmp_path), test)


def test_it_can_be_read_in_ascii_and_in_a_small_window(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        await app.run_action("manual('keys')")
        await until(pilot, lambda: "Everywhere" in text_of(app) or "Change keys" in text_of(app))
        assert not {"•", "─", "━", "│"} & set(text_of(app))
        await pilot.press("end")
        await until(pilot, lambda: "id" in text_of(app))
        assert max(map(len, text_of(app).splitlines())) <= 60

    drive(lambda: app_on(tmp_path, ascii_only=True), test, (60, 20))


def test_the_list_shows_the_page_under_its_cursor_where_both_have_room(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await open_manual(pilot)
        await pilot.press("left")
        await until(pilot, lambda: app.screen.query_one("#pages", OptionList).has_focus)
        for page in list(pages())[1:4]:
            await pilot.press("down")
            await until(pilot, lambda page=page: page_of(app) == page)

    drive(lambda: app_on(tmp_path), test, (120, 40))


def help_on_a_terminal(*words: str, **environment: str) -> Terminal:
    """``tltui help`` on a terminal."""
    return Terminal([sys.executable, "-m", "tltui", "help", *words], 80, 24, **environment)


def test_less_opens_the_whole_page_at_the_entry():
    terminal = help_on_a_terminal("optimizer.lr", PAGER="less", LESS="")
    terminal.wait_for("learning rate of the head")
    assert "optimizer.lr" in terminal.lines[0]
    assert "####" not in terminal.text
    terminal.press("g")
    terminal.wait_for(lambda: "Settings" in terminal.lines[0])
    terminal.press("q")
    assert terminal.end_of_program() == 0


def test_another_pager_begins_at_the_entry():
    terminal = help_on_a_terminal("optimizer.lr", PAGER="head -3")
    terminal.wait_for("learning rate of the head")
    assert terminal.end_of_program() == 0
    assert terminal.lines[0].strip() == "optimizer.lr"
    assert b"\x1b[1" in terminal.seen


F1 = "\x1bOP"


@pytest.mark.parametrize("no_colour", [{}, {"NO_COLOR": "1"}])
def test_f1_of_a_terminal_with_sixteen_colours_opens_it_in_colours_that_can_be_seen(
    tmp_path: Path, no_colour: dict[str, str]
):
    command = [sys.executable, "-m", "tltui", "--runs-dir", str(tmp_path), "--no-mouse"]
    environment = {"TERM": "xterm", "COLORTERM": "", "XDG_CONFIG_HOME": str(tmp_path / "config"), **no_colour}
    terminal = Terminal(command, 60, 20, **environment)
    try:
        terminal.wait_for("no runs yet")
        terminal.press(F1)
        terminal.wait_for("Quick start")
        assert terminal.invisible == ""
        assert no_colour or terminal.left_to_the_terminal == ""
        terminal.press("\t")
        terminal.wait_for("enter follow")
        assert terminal.invisible == ""
        assert no_colour or terminal.left_to_the_terminal == ""
        terminal.press("qq")  # the first closes the manual
        assert terminal.end_of_program() == 0
    finally:
        terminal.kill()


def test_a_terminal_without_colours_gets_none():
    terminal = help_on_a_terminal("optimizer.lr", PAGER="head -3", TERM="dumb")
    assert terminal.end_of_program() == 0
    assert b"learning rate of the head" in terminal.seen
    assert b"\x1b" not in terminal.seen
