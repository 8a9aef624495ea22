"""Python files in the folders that a user works in are data: no process of ours executes them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, to_toml, with_setting
from engine.experiments.server.json_lines import RatesLine
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import fold_all
from engine.system.interpreter import environment, python_module
from tests.conftest import TINY, Engine, make_images
from tltui.engine_client.experiments import run_experiment
from tltui.engine_client.images import ImageClient
from tltui.engine_client.queries import EngineQueries, TreeKey
from tltui.runs.engine_pool import EnginePool

pytestmark = pytest.mark.real_start
PACKAGES = ("engine", "tltui")
MODULES = ("torch", "msgspec", "numpy", "click", "sitecustomize", "usercustomize", "random", "runpy")
SWEEP = 'base = "run.toml"\nsampler = "grid"\ntrials = 1\n[space]\n"optimizer.lr" = [0.01]\n'


def plant(folder: Path, marker: Path, *, packages: bool = True) -> None:
    """Put modules into ``folder`` that say so in ``marker`` when they are executed."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"with open({str(marker)!r}, 'a') as file: file.write(__file__ + '\\n')\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(code)
    for name in PACKAGES if packages else ():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(code)


def executed(marker: Path) -> list[str]:
    return marker.read_text().splitlines() if marker.exists() else []


class Place:
    """A user's folders, with modules planted in each: images, runs and, the current one, that of run.toml."""

    def __init__(self, root: Path) -> None:
        self.marker, self.here, self.runs, self.images = (root / name for name in ("marker", "here", "runs", "images"))
        make_images(self.images)
        plant(self.here, self.marker)
        plant(self.runs, self.marker)
        plant(self.images, self.marker, packages=False)  # a folder would be a class
        (self.here / "run.toml").write_text(to_toml(self.config()))
        head_alone = with_setting(self.config(), "freeze.rules", ["freeze *", "train head"])
        (self.here / "head.toml").write_text(to_toml(with_setting(head_alone, "data.augment", "none")))
        (self.here / "sweep.toml").write_text(SWEEP)

    def config(self, processes: int = 1) -> RunConfig:
        return from_tables(
            {
                "data": {
                    "path": str(self.images), "image_size": 32, "val_fraction": 0.25, "test_fraction": 0.25,
                    "augment": "standard", "workers": 2,
                },
                "model": TINY,
                "freeze": {"rules": []},
                "train": {"epochs": 1, "batch_size": 8, "device": "cpu", "processes": processes},
            }
        )  # fmt: skip

    def tltui(self, *arguments: str, command: tuple[str, ...] = python_module("tltui")) -> None:
        """Run a command in the folder of run.toml, as the one that pip installs, and see that nothing was executed."""
        done = subprocess.run(
            [*command, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.here,
            env=environment(TLTUI_RUNS=str(self.runs), PYTHONSAFEPATH="", TERM="dumb"),
        )
        assert executed(self.marker) == []
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("planted"))
    place.tltui("train", "run.toml", "--headless")
    return place


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "last"],
        ["sweep", "sweep.toml"],
        ["train", "run.toml", "--headless", "--set", "train.processes=2"],
        *(
            pytest.param(command, marks=pytest.mark.slow)
            for command in (
                ["predict", "last", "."],
                ["export", "last", "--format", "safetensors", "-o", "exported"],
                ["inspect", TINY["name"]],
                ["inspect", TINY["name"], "--profile", "--batch-size", "2"],
                ["probe", "run.toml"],
                ["lr-find", "head.toml"],
            )
        ),
    ],
    ids=" ".join,
)
def test_no_command_executes_modules_of_the_current_folder(command: list[str], place: Place):
    if command[0] == "predict":
        shutil.copy(next(place.images.glob("*/*.png")), place.here)
    place.tltui(*command)


def test_the_module_tltui_imports_nothing_from_the_current_folder(place: Place):
    for name in PACKAGES:  # Python looks for tltui itself there before any code of ours runs
        shutil.rmtree(place.here / name)
    try:
        place.tltui("inspect", TINY["name"], command=(sys.executable, "-m", "tltui"))
    finally:
        plant(place.here, place.marker)


def test_the_apps_processes_execute_no_modules_of_the_current_folder(
    place: Place, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(place.here)
    for folder in place.runs.iterdir():
        if (folder / "run.toml").exists():
            run = RunFolder(folder)
    engines = EnginePool()
    engines.prewarm()

    async def asked() -> None:
        await EngineQueries().layer_tree(TreeKey(TINY["name"], 3, 32, ()))
        looking = ImageClient(run.path)
        await looking.image(run.predictions.read_text().splitlines()[1].split(",")[0], (8, 8))
        await looking.close()
        async with aclosing(run_experiment("lr-find", RatesLine, place.config(), place.runs)) as said:
            async for _ in said:
                break

    asyncio.run(asked())
    folder, process = engines.start(tmp_path / "runs", place.config())
    engines.release()
    assert process.wait(60) == 0, folder.log.read_text()
    assert fold_all(EventTail(folder).poll()).status == "completed"
    assert executed(place.marker) == []


SHOW_PATH = "import os, sys; sys.exit(os.path.realpath('.') in map(os.path.realpath, sys.path))"


@pytest.mark.parametrize("entries", ["", ":", "::", "{root}:", ":{root}", "{root}::{root}"])
def test_empty_entries_of_pythonpath_do_not_reach_processes_that_are_started(
    entries: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", entries.format(root=root))
    kept = environment()["PYTHONPATH"].split(os.pathsep)
    assert kept.count(str(root)) >= entries.count("root")
    code = [sys.executable, "-c", SHOW_PATH]
    assert subprocess.run(code, check=False, cwd=tmp_path, env=environment()).returncode == 0


def test_a_checkout_works_as_the_current_folder_and_by_pythonpath(tmp_path: Path):
    root = Path(__file__).parents[2]
    alone = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    code = "import subprocess\nfrom engine.system.interpreter import environment, python_module\n"
    code += "command = [*python_module('engine.system.interpreter')]\n"
    code += "command[2:] = ['-c', 'import engine.system.interpreter as e; print(e.__file__)']\n"
    code += "print(subprocess.check_output(command, cwd='/', env=environment(), text=True))"
    for folder, variables in ((root, alone), (tmp_path, {**alone, "PYTHONPATH": str(root)})):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=folder, env=variables
        )
        assert Path(done.stdout.strip()) == root / "engine" / "system" / "interpreter.py"


def test_no_process_is_started_without_the_safe_path():
    root = Path(__file__).parents[2]
    sources = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    starts = [path.relative_to(root) for path in sources if "sys.executable" in path.read_text()]
    assert starts == [Path("engine/system/interpreter.py")]
