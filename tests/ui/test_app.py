"""The whole app, driven by keys over real run folders."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import ScriptedEngine, ScriptedRun, app_on, digits, images, notices, refusing, silent, text_of, until
from folded_runs import training
from textual.events import Paste
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.config.toml_io import load, with_setting
from engine.runs import commands
from engine.runs import events as p
from engine.runs.command_log import new_command_id, send
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import fold_all
from tltui.app.app import TltuiApp
from tltui.app.palette import Actions
from tltui.runs.launch import start
from tltui.screens.help import Help
from tltui.screens.home import Home
from tltui.screens.workbench import Workbench

Test = Callable[[Pilot[int], TltuiApp], Awaitable[None]]


def drive(make: Callable[[], TltuiApp], test: Test, size: tuple[int, int] = (120, 40)) -> TltuiApp:
    async def main() -> TltuiApp:
        app = make()
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: "tltui" in text_of(app))
            await test(pilot, app)
        return app

    return asyncio.run(main())


async def running(pilot: Pilot[int], app: TltuiApp, engine: ScriptedEngine) -> ScriptedRun:
    """Run the draft that is open, up to the first steps."""
    await until(pilot, lambda: "layer4" in text_of(app))
    await pilot.press("r")
    await until(pilot, lambda: engine.started)
    run = engine.started[-1]
    run.begin()
    run.say(*training(range(1, 9), 8))
    await until(pilot, lambda: "● training" in text_of(app))
    return run


def test_home_without_runs_offers_the_demo_and_a_folder(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "demo: handwritten digits" in text_of(app))
        assert "folder of images: one subfolder" in text_of(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        assert "digits" in text_of(app)

    drive(lambda: app_on(tmp_path), test, (80, 24))


def test_a_folder_of_images_trains_after_at_most_ten_keys(tmp_path: Path):
    folder = images(tmp_path / "flowers", daisy=3, rose=3)
    engine = ScriptedEngine()
    keys = 0

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        nonlocal keys

        async def press(*names: str) -> None:
            nonlocal keys
            keys += len(names)
            await pilot.press(*names)

        await press("n")
        await until(pilot, lambda: "Choose images" in text_of(app))
        await press("ctrl+u")
        app.post_message(Paste(str(folder)))
        await until(pilot, lambda: "2 classes, 6 images" in text_of(app))
        await press("enter")
        await until(pilot, lambda: "layer4" in text_of(app))
        await press("r")
        await until(pilot, lambda: engine.started)

    drive(lambda: app_on(tmp_path, engine), test, (80, 24))
    assert keys <= 10
    config = engine.started[0].folder.load_config()
    assert (config.data.source, config.data.path) == ("auto", str(folder))


def test_what_runs_is_said_at_once_and_shown_where_there_is_room_for_one_pane(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        await pilot.press("r")
        await until(pilot, lambda: engine.started)
        await until(pilot, lambda: "● starting" in text_of(app) and "r run" not in text_of(app))
        assert "layer4" not in text_of(app)
        assert "Curves appear with the first" in text_of(app)

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test, (80, 24))


def test_a_toggle_in_the_tree_of_a_draft_stands_in_its_rules_and_in_the_run(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        before = text_of(app)
        await pilot.press("1")
        await pilot.pause()
        assert "train layer4" in text_of(app)
        assert text_of(app).splitlines()[-4:] != before.splitlines()[-4:]
        await pilot.press("r")
        await until(pilot, lambda: engine.started)

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)
    assert "train layer4" in engine.started[0].folder.load_config().freeze.rules


def test_rules_that_are_typed_move_the_tree(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "○ layer4" in text_of(app))
        assert isinstance(app.screen, Workbench)
        app.screen.focus_setting("freeze.rules")
        await pilot.pause()
        await pilot.press("end", "comma", *"train", "space", *"layer4")
        await pilot.pause()
        assert "● layer4" in text_of(app)

    drive(lambda: app_on(tmp_path, draft=digits()), test)


def test_a_draft_that_can_not_run_says_why_and_goes_to_the_setting(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, Workbench))
        await pilot.press("escape", "r")
        await pilot.pause()
        assert "data.path is empty" in text_of(app)
        assert app.focused is not None
        assert "-focused" in next(a for a in app.focused.ancestors if a.id == "field-data-path").classes

    drive(lambda: app_on(tmp_path, engine), test)
    assert engine.started == []


def test_while_a_tree_is_loaded_a_placeholder_says_so(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "Loading layers of resnet18" in text_of(app))

    drive(lambda: app_on(tmp_path, queries=silent(), draft=digits()), test)


def test_a_tree_that_can_not_be_loaded_says_why(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "is not known" in text_of(app))

    drive(lambda: app_on(tmp_path, queries=refusing(), draft=digits()), test, (200, 60))


def test_a_toggle_during_a_run_is_pending_until_it_is_applied(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("f2", "1")
        await pilot.pause()
        assert "◌" in text_of(app)
        (command,) = run.commands()
        assert isinstance(command, commands.Set)
        assert (command.key, command.value) == ("freeze.rules", ["freeze *", "train layer4", "train head"])
        run.say(p.CommandApplied(command=command, step=9, parameters=None))
        await until(pilot, lambda: "◌" not in text_of(app))
        assert "● layer4" in text_of(app)

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_a_refused_toggle_says_why_and_is_rolled_back(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("f2", "1")
        (command,) = run.commands()
        assert isinstance(command, commands.Set)
        run.say(p.CommandRejected(command=command, reason="no memory for this plan", step=9))
        await until(pilot, lambda: "no memory for this plan" in text_of(app))
        assert "○ layer4" in text_of(app)
        assert "◌" not in text_of(app)

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_where_no_command_can_be_written_it_is_said_and_nothing_looks_as_if_it_were_sent(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        def refused() -> bool:
            return "no command can be written" in notices(app)

        run = await running(pilot, app, engine)
        run.folder.commands.mkdir()  # as a full disk, or a folder of someone else, refuse it
        await pilot.press("f2", "1")
        await until(pilot, refused)
        assert "○ layer4" in text_of(app)
        assert "◌" not in text_of(app)
        for key in ("p", "k"):
            app.clear_notifications()
            await pilot.press(key)
            await until(pilot, refused)
        run.say(*training(range(9, 17), 8))
        await until(pilot, lambda: "step 16" in text_of(app))

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_keys_pause_resume_and_checkpoint(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("f4", "p", "k")
        pause, checkpoint = run.commands()
        assert isinstance(pause, commands.Pause)
        assert isinstance(checkpoint, commands.SaveCheckpoint)
        run.say(p.CommandApplied(command=pause, step=8))
        await until(pilot, lambda: "‖ paused" in text_of(app))
        await pilot.press("p")
        (resume,) = run.commands()
        assert isinstance(resume, commands.Resume)

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_stopping_asks_and_the_safe_answer_comes_first(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("s")
        await until(pilot, lambda: "Stop training?" in text_of(app))
        await pilot.press("enter")
        await pilot.pause()
        assert run.commands() == []
        await pilot.press("s")
        await until(pilot, lambda: "Stop training?" in text_of(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: any(isinstance(command, commands.Stop) for command in run.commands()))

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_a_stopped_run_is_resumed_from_its_row_or_its_curves(tmp_path: Path, config: Callable[..., RunConfig]):
    """Two stops and two goings on of a real engine."""
    folder, _ = start(tmp_path / "runs", config(train={"epochs": 2000}))
    asked_to_stop(folder)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "stopped" in text_of(app), 60)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Workbench) and "training" in text_of(app), 60)
        await asyncio.to_thread(asked_to_stop, folder)
        await until(pilot, lambda: "stopped" in text_of(app), 60)
        await pilot.press("r")
        await until(pilot, lambda: "training" in text_of(app), 60)
        await asyncio.to_thread(asked_to_stop, folder)
        await until(pilot, lambda: "stopped" in text_of(app), 60)

    drive(lambda: app_on(tmp_path), test)
    state = fold_all(EventTail(folder).poll())
    assert [step.step for step in state.steps.recent] == list(range(1, len(state.steps) + 1))


def asked_to_stop(folder: RunFolder) -> None:
    """The next engine that looks, or the one that trains, stops after its first step."""
    trained = len([event for event in EventTail(folder).poll() if isinstance(event, p.Step)])
    while len([event for event in EventTail(folder).poll() if isinstance(event, p.Step)]) == trained:
        time.sleep(0.05)
    send(folder, commands.Stop(id=new_command_id()))


def test_leaving_asks_once_while_a_run_trains_and_lets_it_train(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await running(pilot, app, engine)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Home) and "1 training" in text_of(app))
        await pilot.press("q")
        await until(pilot, lambda: "continues without the app" in text_of(app))
        await pilot.press("enter")
        await pilot.pause()

    app = drive(lambda: app_on(tmp_path, engine, draft=digits()), test)
    assert app.return_code == 0
    assert engine.started[0].commands() == []


def test_leaving_without_a_run_does_not_ask(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("q")
        await pilot.pause()

    assert drive(lambda: app_on(tmp_path), test).return_code == 0


def test_a_second_run_waits_until_the_first_is_over(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        run = await running(pilot, app, engine)
        await pilot.press("f2", "y")
        await until(pilot, lambda: "○ draft" in text_of(app))
        await pilot.press("r")
        await until(pilot, lambda: "Queue this run" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: "○ queued" in text_of(app))
        assert len(engine.started) == 1
        run.end()
        await until(pilot, lambda: len(engine.started) == 2)
        await until(pilot, lambda: "○ queued" not in text_of(app) and "✓ completed" in text_of(app))

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_an_engine_that_dies_without_a_word_is_shown_as_lost(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        (await running(pilot, app, engine)).die()
        await until(pilot, lambda: "? lost" in text_of(app))

    drive(lambda: app_on(tmp_path, engine, draft=digits()), test)


def test_a_run_that_is_opened_again_shows_all_that_happened(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path / "runs", digits())
    engine.started[0].begin()
    engine.started[0].say(*training(range(1, 33), 8))
    engine.started[0].end()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "✓ completed" in text_of(app) and "layer4" in text_of(app))
        await until(pilot, lambda: "step 32" in text_of(app))

    drive(lambda: app_on(tmp_path, engine, open_run=folder), test)


def test_the_plan_of_a_run_that_is_over_stays_as_it_was(tmp_path: Path):
    engine = ScriptedEngine()
    folder, _ = engine.start(tmp_path / "runs", digits())
    engine.started[0].begin()
    engine.started[0].end()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "○ layer4" in text_of(app))
        await pilot.press("f2", "1")
        await pilot.pause()
        assert "○ layer4" in text_of(app)
        assert "Run finished; " in text_of(app)

    drive(lambda: app_on(tmp_path, engine, open_run=folder), test)
    assert engine.started[0].commands() == []


def test_on_a_narrow_terminal_the_panes_take_turns_and_the_counter_stays(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        assert "stratify" not in text_of(app)
        await pilot.press("tab")
        await until(pilot, lambda: "stratify" in text_of(app))
        assert "layer4" not in text_of(app)
        assert "trainable" in text_of(app)
        await pilot.press("f2")
        await until(pilot, lambda: "layer4" in text_of(app))
        assert "trainable" in text_of(app)

    drive(lambda: app_on(tmp_path, draft=digits()), test, (80, 24))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (300, 100)])
def test_every_screen_can_be_drawn_in_any_size(tmp_path: Path, size: tuple[int, int]):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        for key in ("t", "f3", "f4", "f5", "question_mark", "escape", "d"):
            await pilot.press(key)
            await pilot.pause()
        for other in ((200, 60), (80, 24), size):
            await pilot.resize_terminal(*other)
            await pilot.pause()

    drive(lambda: app_on(tmp_path), test, size)


def test_names_with_markup_and_escape_codes_are_shown_as_text(tmp_path: Path):
    folder = images(tmp_path / "[red]x\x1b[2J", daisy=1, rose=1)

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "[red]x\\x1b[2J" in text_of(app))
        await pilot.press("f3")
        await pilot.pause()
        assert "\x1b" not in text_of(app)

    config = with_setting(with_setting(digits(), "data.path", str(folder)), "data.source", "folder")
    drive(lambda: app_on(tmp_path, draft=config), test)


def test_settings_are_saved_and_loaded_as_run_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    async def save(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        await pilot.press("w")
        await until(pilot, lambda: "Save settings as" in text_of(app))
        await pilot.press("enter")
        await until(pilot, (tmp_path / "run.toml").exists)

    drive(lambda: app_on(tmp_path, draft=digits(epochs=7)), save)
    assert load(tmp_path / "run.toml").train.epochs == 7

    async def load_again(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        await pilot.press("o")
        await until(pilot, lambda: "Load settings from" in text_of(app))
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("r")
        await until(pilot, lambda: engine.started)

    engine = ScriptedEngine()
    drive(lambda: app_on(tmp_path, engine, draft=digits()), load_again)
    assert engine.started[0].folder.load_config().train.epochs == 7


def test_help_shows_the_keys_in_force(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "keymap.toml").write_text('"home.new" = "g"')

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help))
        line = next(line for line in text_of(app).splitlines() if "new run from a folder of images" in line)
        assert " g " in line
        await pilot.press("escape", "g")
        await until(pilot, lambda: "Choose images" in text_of(app))

    drive(lambda: app_on(tmp_path), test)


def test_a_wrong_keymap_is_named_when_the_app_starts(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "keymap.toml").write_text('"home.fly" = "g"')

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: '"home.fly" is no action' in " ".join(text_of(app).split()))

    drive(lambda: app_on(tmp_path), test)


def test_every_action_of_the_workbench_is_in_the_command_palette(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "layer4" in text_of(app))
        offered = {hit.help async for hit in Actions(app.screen).discover()}
        assert {"workbench.run", "workbench.save", "layers.toggle", "form.reset", "app.quit"} <= offered
        assert "workbench.pause" not in offered  # there is nothing to pause

    drive(lambda: app_on(tmp_path, draft=digits()), test)


def test_in_ascii_nothing_but_ascii_is_shown(tmp_path: Path):
    engine = ScriptedEngine()

    async def test(pilot: Pilot[int], app: TltuiApp) -> None:
        await until(pilot, lambda: "[F] layer4" in text_of(app))
        assert "[T]" in text_of(app)
        # Textual's own scrollbars are the only thing that is not
        assert {letter for letter in text_of(app) if not letter.isascii()} <= set("▁▂▃▄▅▆▇█")

    drive(lambda: app_on(tmp_path, engine, draft=digits(), ascii_only=True), test)


def test_the_app_imports_no_heavy_library():
    code = (
        "import sys, tltui.app.app; "
        "print([name for name in ('torch', 'torchvision', 'timm', 'sklearn', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
