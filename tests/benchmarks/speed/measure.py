"""One training, timed as a whole process."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from engine.config.schema import RunConfig
from engine.config.toml_io import load
from engine.models import registry
from engine.runs.event_log import EventTail
from engine.runs.events import Epoch
from engine.runs.folder import RunFolder
from tests.benchmarks.speed.scenarios import Network, Scenario
from tltui.runs.engine_pool import EnginePool

BATCH_SIZE = 32
LEARNING_RATE = 1e-3  # of the head; an unfrozen backbone trains at a tenth, in ours and in the tutorial's loop
SCRIPTS = {"tutorial": "tutorial_loop.py", "fastai": "fastai_loop.py"}
_OTHER_HEAD = {"head.dropout": "0.4", "optimizer.name": "sgd", "optimizer.lr": "0.01"}


@dataclass(frozen=True)
class Measurement:
    """``seconds`` from the process's start to its end for ``epochs``; ``measured_epochs`` of them were run.

    ``startup``: seconds before the first epoch begins (ours: with decoding and cache, before training begins);
    ``epoch_seconds`` and ``val_accuracies``: of each epoch that was run, with its validation.
    """

    scenario: str
    model: str
    who: str
    seed: int
    epochs: int
    measured_epochs: int
    seconds: float
    startup: float
    epoch_seconds: list[float]
    val_accuracies: list[float]
    command: list[str]

    @property
    def val_accuracy(self) -> float:
        """The best epoch's, among those that were run."""
        return max(self.val_accuracies)

    @property
    def steady_epoch(self) -> float:
        """Seconds of an epoch after the first, which warms up what the others use."""
        return statistics.fmean(self.epoch_seconds[1:] or self.epoch_seconds)

    def as_if(self, scenario: Scenario) -> Measurement:
        """What this reference would have taken for the epochs of ``scenario``, which trains the same layers.

        Epochs too many are cut off, epochs too few are taken to last like the steady ones.
        """
        more = scenario.epochs - self.measured_epochs
        change = more * self.steady_epoch if more > 0 else -sum(self.epoch_seconds[scenario.epochs :])
        accuracies = self.val_accuracies[: scenario.epochs]
        seconds = self.seconds + change
        return replace(self, scenario=scenario.name, epochs=scenario.epochs, seconds=seconds, val_accuracies=accuracies)


@dataclass(frozen=True)
class Setting:
    """What all trainings of one call share."""

    folder: Path
    images: Path
    device: str


def why_not(who: str) -> str | None:
    """Why ``who`` can't be measured here, if so."""
    if who == "fastai" and importlib.util.find_spec("fastai") is None:
        return "fastai is not installed here (pip install fastai); it is left out"
    return None


def run_ours(
    setting: Setting, scenario: Scenario, network: Network, model: str, weights: Path, seed: int
) -> Measurement:
    """``tltui train``, with an empty cache, or for ``again`` with one that a run with another head filled."""
    place = setting.folder / "ours"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    environment = {**os.environ, "TLTUI_CACHE": str(place / "cache"), "TLTUI_OFFLINE": "1"}
    config = place / "run.toml"
    config.write_text(_our_config(setting, scenario, network, weights, seed))
    command = [sys.executable, "-m", "tltui", "train", str(config), "--headless", "--runs-dir", str(place / "runs")]
    changes = _OTHER_HEAD if scenario.again else {}
    if scenario.again:
        _run([*command[:-1], str(place / "filling"), "--set", "train.epochs=1"], environment)
    if scenario.app:
        with patch.dict(os.environ, environment):
            start, seconds = _run_in_waiting_engine(place / "runs", load(config, changes))
    else:
        command += [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        start, seconds, _ = _run(command, environment)
    (run,) = (place / "runs").iterdir()
    epochs = [event for event in EventTail(RunFolder(run)).poll() if isinstance(event, Epoch)]
    return Measurement(
        scenario=scenario.name,
        model=model,
        who="tltui",
        seed=seed,
        epochs=scenario.epochs,
        measured_epochs=len(epochs),
        seconds=seconds,
        startup=epochs[0].time - epochs[0].seconds - start,
        epoch_seconds=[epoch.seconds for epoch in epochs],
        val_accuracies=[epoch.val_accuracy for epoch in epochs],
        command=command,
    )


def run_reference(
    setting: Setting, who: str, scenario: Scenario, epochs: int, network: Network, model: str, weights: Path, seed: int
) -> Measurement:
    """The script of ``who`` for ``epochs`` epochs."""
    preprocessing = asdict(registry.architecture(network.ours).preprocessing)
    spec: dict[str, Any] = {
        "images": str(setting.images),
        "library": network.library,
        "name": network.theirs,
        "weights": str(weights),
        "head": network.head,
        "trains": network.trained(scenario),
        "size": preprocessing["image_size"],
        "resize": preprocessing["resize_size"],
        **{key: preprocessing[key] for key in ("mean", "std", "interpolation")},
        "batch_size": BATCH_SIZE,
        "lr": LEARNING_RATE,
        "backbone_lr": LEARNING_RATE / 10,
        "epochs": epochs,
        "seed": seed,
        "device": setting.device,
    }
    path = setting.folder / f"{who}.json"
    path.write_text(json.dumps(spec, indent=1))
    command = [sys.executable, str(Path(__file__).with_name(SCRIPTS[who])), str(path)]
    start, seconds, printed = _run(command, dict(os.environ))
    told = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    times = [line["time"] for line in told]
    return Measurement(
        scenario=scenario.name,
        model=model,
        who=who,
        seed=seed,
        epochs=epochs,
        measured_epochs=len(told) - 1,
        seconds=seconds,
        startup=times[0] - start,
        epoch_seconds=[after - before for before, after in itertools.pairwise(times)],
        val_accuracies=[line["val_accuracy"] for line in told[1:]],
        command=command,
    )


def _our_config(setting: Setting, scenario: Scenario, network: Network, weights: Path, seed: int) -> str:
    trained = network.trained(scenario)
    rules = ["freeze *", *(f"train {path}" for path in trained)] if trained else ["train *"]
    sections = {
        "data": {"path": str(setting.images)},
        "model": {"name": network.ours, "weights": str(weights)},
        "freeze": {"rules": rules},
        "optimizer": {"lr": LEARNING_RATE, "backbone_lr_factor": 0.1},
        "train": {"epochs": scenario.epochs, "batch_size": BATCH_SIZE, "seed": seed, "device": setting.device},
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def _run_in_waiting_engine(runs: Path, config: RunConfig) -> tuple[float, float]:
    """(Unix time of the start, seconds until the engine's end). Raises RuntimeError where it fails."""
    engines = EnginePool()
    engines.prewarm()
    (waiting,) = (child for child in psutil.Process().children() if "--warm" in child.cmdline())
    worked = -1.0
    while worked != (worked := sum(waiting.cpu_times()[:2])):
        time.sleep(2.0)  # it says nothing when it is ready, but has then nothing to do
    start, before = time.time(), time.monotonic()
    folder, engine = engines.start(runs, config)
    if engine.pid != waiting.pid or engine.wait():
        raise RuntimeError(f"the waiting engine did not train; see {folder.log}")
    return start, time.monotonic() - before


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """(Unix time of the start, seconds, what it printed). Raises RuntimeError where it fails."""
    start, before = time.time(), time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - before
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return start, seconds, done.stdout
