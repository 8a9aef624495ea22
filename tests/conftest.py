"""Real images, real runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from engine.cache.folder import CACHE
from engine.compute.precision import Precision
from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from engine.models import registry
from engine.process.session_setup import set_up_session
from engine.runs.event_log import EventLog, EventTail
from engine.runs.folder import RunFolder, create
from engine.runs.lock import is_locked
from engine.runs.state import RunState, fold_all
from engine.system.interpreter import environment, python_module
from engine.training.control import Control
from engine.training.run_context import RunContext
from engine.training.session import Session
from tests.forked_starts.client import Client
from tltui.runs.registry import folders

# How long an example takes is the machine's affair.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40)}
# timm's smallest networks: real convolutions and batch norms, a step takes milliseconds.
TINY = {"name": "timm/test_resnet", "weights": "none"}


def make_images(root: Path, per_class: int = 16, side: int = 40, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """Class folders of images that differ in colour, with noise so that no two are the same."""
    random = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            noise = random.integers(-40, 40, (side, side, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


def make_weights(path: Path, name: str = TINY["name"]) -> Path:
    """Weights as a pretrained network has them, with its original classifier; they are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(registry.architecture(name).build(32).state_dict(), path)
    return path


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the tests alone, also for the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def threads() -> Iterator[None]:
    """One thread for each process: those of tests that run at the same time would wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        yield


FORKED_STARTS = pytest.StashKey[Client]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-starts", action="store_true", help="start each process of a test from nothing")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FORKED_STARTS] = Client(os.environ)
    config.stash[FORKED_STARTS].install()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[FORKED_STARTS].uninstall()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Comes before the fixtures, so that the mark ``real_start`` holds for those too that are set up for the test."""
    is_real = item.config.getoption("real_starts") or item.get_closest_marker("real_start")
    item.config.stash[FORKED_STARTS].enabled = not is_real


@pytest.fixture(scope="session")
def forked_starts(pytestconfig: pytest.Config) -> Client:
    """Forks the processes that tests start; see tests/forked_starts."""
    return pytestconfig.stash[FORKED_STARTS]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def config(images: Path) -> Callable[..., RunConfig]:
    """A config for the tiny network on the coloured images; arguments are sections to change."""

    def make(**sections: dict[str, Any]) -> RunConfig:
        tables: dict[str, dict[str, Any]] = {
            "data": {"path": str(images), "image_size": 32, "val_fraction": 0.25, "test_fraction": 0.25},
            "model": dict(TINY),
            "optimizer": {"lr": 0.01},
            "train": {"epochs": 2, "batch_size": 8, "device": "cpu", "precision": "fp32"},
        }
        for name, values in sections.items():
            tables.setdefault(name, {}).update(values)
        return from_tables(tables)

    return make


class Engine:
    """Runs the engine as the process that it is."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs

    def start(self, config: RunConfig, *, start_new_session: bool = False) -> tuple[RunFolder, subprocess.Popen[bytes]]:
        folder = create(self._runs, config)
        with folder.log.open("wb") as log:
            process = subprocess.Popen(
                python_module("engine.process.worker", str(folder.path)),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=start_new_session,
            )
        return folder, process

    def run(self, config: RunConfig) -> tuple[RunFolder, RunState, int]:
        folder, process = self.start(config)
        status = process.wait(timeout=240)
        return folder, fold_all(EventTail(folder).poll()), status


def kill_workers(runs: Path) -> None:
    """Kill the workers of all runs below ``runs``, so that none outlives a test that failed."""
    for folder in folders(runs):
        if is_locked(folder):
            os.kill(json.loads(folder.lock.read_text())["process_id"], signal.SIGKILL)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "runs")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make a busy machine slower, not faster."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


Sessions = Callable[[RunConfig], Session]


@contextmanager
def restored_signals() -> Iterator[None]:
    """Signal handlers are restored afterwards."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Signal handlers are restored afterwards."""
    with restored_signals():
        yield


@contextmanager
def open_sessions(runs: Path) -> Iterator[Sessions]:
    """Training sessions in this process, which are closed afterwards."""
    made: list[Session] = []

    def make(config: RunConfig) -> Session:
        folder = create(runs, config)
        torch.manual_seed(config.train.seed)
        precision = Precision("fp32", torch.device("cpu"))
        context = RunContext(folder, EventLog(folder), Control(folder))
        made.append(set_up_session(context, config, precision, precision))
        return made[-1]

    yield make
    for one in made:
        one.loader.close()


@pytest.fixture
def session(tmp_path: Path, signal_handlers: None) -> Iterator[Sessions]:
    """A training session in this process."""
    with open_sessions(tmp_path / "runs") as make:
        yield make
