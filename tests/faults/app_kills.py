"""Runs that are watched by apps which are killed in every way: the run must not notice, and no app may linger."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.config.schema import RunConfig
from engine.config.toml_io import with_setting
from engine.runs.folder import RunFolder, create
from tests.faults.kills import Report
from tests.faults.lives import Life
from tests.faults.short_run import Outcome, log_problems, script, short_config
from tests.ui.pseudo_terminal import Terminal

_GONE_WITHIN = 10.0  # seconds; under one on a quiet machine
_EPOCHS = 100
_WAYS = ("SIGKILL", "SIGHUP", "SIGTERM", "closed terminal")


def kill_the_app(root: Path, kills: int, seed: int) -> Report:
    """``kills`` apps, one after the other, while runs train that are compared with one that nobody watched."""
    config = with_setting(short_config(root), "train.epochs", _EPOCHS)
    report = Report()
    expected = _outcome(root, config)
    chance = random.Random(seed)
    while report.instants < kills:
        folder = create(root / "runs", config)
        life = Life(folder, script())
        while report.instants < kills and not life.over:
            _kill_once(folder, report, chance)
        status = life.wait()
        wrong = log_problems(folder)
        wrong += [f"ended with status {status}"] if status else expected.difference(Outcome.of(folder))
        report.runs += 1
        report.identical += not wrong
        report.problems += [f"{folder.path}: {', '.join(wrong)}"] if wrong else []
    return report


def _outcome(root: Path, config: RunConfig) -> Outcome:
    folder = create(root / "runs", config)
    assert Life(folder, script()).wait() == 0, folder.log.read_text()
    return Outcome.of(folder)


def _kill_once(folder: RunFolder, report: Report, chance: random.Random) -> None:
    command = [sys.executable, "-m", "tltui", "attach", str(folder.path)]
    app = Terminal(command, chance.choice([80, 200]), chance.choice([24, 60]), folder=folder.path.parent)
    try:
        kill_at = time.monotonic() + chance.uniform(0.0, 2.0)
        while (left := kill_at - time.monotonic()) > 0:
            app.read(left)
        way = chance.choice(_WAYS)
        if way == "closed terminal":
            app.close()
        else:
            app.process.send_signal(signal.Signals[way])
        try:
            if way == "closed terminal":
                app.process.wait(_GONE_WITHIN)
            else:
                app.end_of_program(_GONE_WITHIN)
        except subprocess.TimeoutExpired:
            report.problems.append(f"an app was still there {_GONE_WITHIN} s after {way}")
    finally:
        app.kill()
    report.instants += 1
