"""What stands out in a run has a line, and a key that does what helps."""

import asyncio
from pathlib import Path

import pytest
from app_runs import ScriptedEngine, ScriptedRun, app_on, digits, text_of, until
from folded_runs import training
from textual.pilot import Pilot

from engine.runs import commands
from engine.runs import events as p
from tltui.app.app import TltuiApp
from tltui.screens.workbench import Workbench
from tltui.widgets.finding_line import FindingLine

SIZES = [(80, 24), (120, 40)]


def epochs(first: int, train: list[float], val: list[float], accuracy: float = 0.6) -> list[p.AnyEvent]:
    """Epochs of 8 steps with these losses, in which training images are known ever better."""
    events: list[p.AnyEvent] = []
    for number, (train_loss, val_loss) in enumerate(zip(train, val, strict=True), first):
        events += [
            p.Step(step=step, epoch=number, loss=train_loss, lr={"head": 1e-3}, grad_norm=1.0, images_per_second=400.0)
            for step in range(number * 8 - 7, number * 8 + 1)
        ]
        events.append(
            p.Epoch(
                epoch=number,
                step=number * 8,
                train_loss=train_loss,
                train_accuracy=1 - train_loss / 4,
                val_loss=val_loss,
                val_accuracy=accuracy,
                seconds=1.0,
                frozen_digest="",
                frozen_unchanged=True,
            )
        )
    return events


OVERFITTING = ([1.0, 0.5, 0.2, 0.1, 0.05, 0.02], [0.8, 0.7, 0.7, 0.9, 1.0, 1.1])
TOO_HIGH = ([9.0, 8.0], [9.0, 9.0])


async def started(pilot: Pilot[int], app: TltuiApp, engine: ScriptedEngine) -> ScriptedRun:
    await until(pilot, lambda: "layer4" in text_of(app))
    await pilot.press("r")
    await until(pilot, lambda: engine.started)
    engine.started[-1].begin(epochs=20)
    return engine.started[-1]


def too_high(run: ScriptedRun) -> None:
    """Two epochs worse than chance level, by a head that is far from its start."""
    for event in epochs(1, *TOO_HIGH):
        if isinstance(event, p.Epoch):
            run.say(p.Layers(step=event.step, epoch=event.epoch, layers={}, dead={}, stages={"head": 20.0}))
        run.say(event)


def test_a_healthy_run_has_no_such_line(tmp_path: Path):
    engine = ScriptedEngine()

    async def main() -> None:
        app = app_on(tmp_path, engine, draft=digits(epochs=20))
        async with app.run_test(size=(80, 24)) as pilot:
            run = await started(pilot, app, engine)
            run.say(*training(range(1, 49), 8))
            await until(pilot, lambda: "epoch 6/20" in text_of(app) or "epoch 7/20" in text_of(app))
            await pilot.press("exclamation_mark")
            await pilot.pause()
            assert not app.screen.query_one(FindingLine).display
            assert run.commands() == []

    asyncio.run(main())


@pytest.mark.parametrize("size", SIZES)
def test_a_rate_that_is_too_high_is_lowered_with_one_key(tmp_path: Path, size: tuple[int, int]):
    engine = ScriptedEngine()

    async def main() -> None:
        app = app_on(tmp_path, engine, draft=digits(epochs=20))
        async with app.run_test(size=size) as pilot:
            run = await started(pilot, app, engine)
            too_high(run)
            await until(pilot, lambda: "learning rate too high" in text_of(app))
            assert "!: lower the learning rate to 0.0001" in text_of(app)
            await pilot.press("exclamation_mark")
            await until(pilot, lambda: "learning rate too high" not in text_of(app))
            (command,) = run.commands()
            assert isinstance(command, commands.Set)
            assert (command.key, command.value) == ("optimizer.lr", 1e-4)
            run.say(p.CommandApplied(command=command, step=16), *epochs(3, [2.0, 1.9], [2.0, 1.9]))
            await until(pilot, lambda: "epoch 4/20" in text_of(app) or "epoch 5/20" in text_of(app))
            assert "learning rate too high" not in text_of(app)

    asyncio.run(main())


@pytest.mark.parametrize("size", SIZES)
def test_ending_a_run_that_overfits_is_asked_for(tmp_path: Path, size: tuple[int, int]):
    engine = ScriptedEngine()

    async def main() -> None:
        app = app_on(tmp_path, engine, draft=digits(epochs=20))
        async with app.run_test(size=size) as pilot:
            run = await started(pilot, app, engine)
            run.say(*epochs(1, *OVERFITTING))
            await until(pilot, lambda: "!: end after epoch 7" in text_of(app))
            await pilot.press("exclamation_mark")
            await until(pilot, lambda: "Keep training" in text_of(app))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            assert run.commands() == []
            await pilot.press("exclamation_mark")
            await until(pilot, lambda: "Keep training" in text_of(app))
            await pilot.press("right", "enter")
            await until(pilot, lambda: isinstance(app.screen, Workbench))
            (command,) = run.commands()
            assert isinstance(command, commands.Set)
            assert (command.key, command.value) == ("train.epochs", 7)

    asyncio.run(main())


def test_of_a_run_that_is_over_the_key_opens_a_draft_with_what_helps(tmp_path: Path):
    engine = ScriptedEngine()

    async def main() -> None:
        app = app_on(tmp_path, engine, draft=digits(epochs=6))
        async with app.run_test(size=(120, 40)) as pilot:
            run = await started(pilot, app, engine)
            run.say(*epochs(1, *OVERFITTING))
            run.end("completed")
            await until(pilot, lambda: "!: augment images and stop early" in text_of(app))
            await pilot.press("exclamation_mark")
            await until(pilot, lambda: "draft" in text_of(app))
            await pilot.press("f9")
            await until(pilot, lambda: len(engine.started) == 2)

    asyncio.run(main())
    config = engine.started[1].folder.load_config()
    assert (config.data.augment, config.train.early_stop_patience) == ("trivial", 5)
