"""Under a key that repeats only the newest image is computed, and nothing for a screen that was left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_runs import app_on, text_of, until
from textual.pilot import Pilot

from engine.errors import InputError
from tltui.app.app import TltuiApp
from tltui.engine_client.images import ImageClient
from tltui.runs.predictions import PredictedImage
from tltui.screens.images import ImageBrowser
from tltui.text.glyphs import UNICODE

# Computes a question once there is a file called "go", and keeps a list of those it began with.
_SLOW = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    ask = json.loads(line)
    with open(folder / "computed", "a") as file:
        file.write(ask["image"] + (" heat" if ask["label"] else "") + "\\n")
    while not (folder / "go").exists():
        time.sleep(0.01)
    print(json.dumps({"id": ask["id"], "error": "seen " + ask["image"]}), flush=True)
"""
Test = Callable[[Pilot[int], TltuiApp, ImageClient], Awaitable[None]]


def computed(folder: Path) -> list[str]:
    return (folder / "computed").read_text().splitlines() if (folder / "computed").exists() else []


def images(looking: ImageClient, name: str) -> ImageBrowser:
    list_sweeps = [PredictedImage(f"{name}{number}", "daisy", "rose", 0.5) for number in range(30)]
    return ImageBrowser(name, list_sweeps, looking, "", UNICODE, "blocks")


def drive(tmp_path: Path, test: Test) -> None:
    async def main() -> None:
        app, looking = app_on(tmp_path), ImageClient(tmp_path, (sys.executable, "-c", _SLOW))
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "tltui" in text_of(app))
            await test(pilot, app, looking)
        await looking.close()

    asyncio.run(main())


def test_of_many_requests_the_first_and_the_newest_are_computed(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp, looking: ImageClient) -> None:
        app.push_screen(images(looking, "p"))
        await until(pilot, lambda: computed(tmp_path) == ["p0"])
        await pilot.press("g", *["down"] * 20)
        (tmp_path / "go").touch()
        await until(pilot, lambda: "seen p20" in text_of(app))
        assert computed(tmp_path) == ["p0", "p20 heat"]

    drive(tmp_path, test)


def test_nothing_is_computed_for_a_screen_that_was_left(tmp_path: Path):
    async def test(pilot: Pilot[int], app: TltuiApp, looking: ImageClient) -> None:
        app.push_screen(images(looking, "p"))
        await until(pilot, lambda: computed(tmp_path) == ["p0"])
        await pilot.press("g", *["down"] * 5, "escape")
        app.push_screen(images(looking, "q"))
        await until(pilot, lambda: "q29" in text_of(app) or "q0" in text_of(app))
        (tmp_path / "go").touch()
        await until(pilot, lambda: "seen q0" in text_of(app))
        assert computed(tmp_path) == ["p0", "q0"]

    drive(tmp_path, test)


def test_after_a_process_that_died_the_next_request_starts_another(tmp_path: Path):
    once = (
        "import pathlib, sys\nif not (there := pathlib.Path(sys.argv[1], 'died')).exists(): there.touch(); sys.exit()\n"
    )

    async def main() -> None:
        looking = ImageClient(tmp_path, (sys.executable, "-c", once + _SLOW))
        (tmp_path / "go").touch()
        with pytest.raises(InputError, match="ended without an answer"):
            await looking.image("a", (10, 10))
        said = "ended"
        while "ended" in said:  # until it is known that the process ended
            with pytest.raises(InputError) as answered:
                await looking.image("b", (10, 10))
            said = str(answered.value)
            await asyncio.sleep(0.01)
        assert said == "seen b"
        await looking.close()

    asyncio.run(main())
