"""Runs whose engine is killed at random moments, again and again, until it is done."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder, create
from engine.runs.replay import ReplayedLog
from tests.faults.lives import Life, wait_for_bytes
from tests.faults.short_run import Outcome, log_problems, script, short_config

KILLS_A_RUN = 4


@dataclass
class Report:
    """``instants``: kills; ``runs``, of which ``identical``; ``lines_lost``: events that a reader saw and that went."""

    instants: int = 0
    runs: int = 0
    identical: int = 0
    lines_lost: int = 0
    problems: list[str] = field(default_factory=list)


def uninterrupted(root: Path) -> tuple[RunFolder, Outcome]:
    """The run as it should be, with a cache of its own."""
    folder = create(root / "runs", short_config(root))
    status = Life(folder, script(), cache=root / "reference-cache").wait()
    assert status == 0, folder.log.read_text()
    assert not log_problems(folder)
    return folder, Outcome.of(folder)


def kill_again_and_again(root: Path, kills: int, seed: int) -> Report:
    """``kills`` instants, a few in each run; half of the runs begin with an empty cache, half find one that is full."""
    reference, expected = uninterrupted(root)
    size = reference.events.stat().st_size
    report = Report()
    while report.instants < kills:
        chance = random.Random(f"{seed} {report.runs}")
        cache = root / (f"cache-{report.runs}" if report.runs % 2 else "reference-cache")
        folder = create(root / "runs", short_config(root))
        wanted = min(KILLS_A_RUN, kills - report.instants)
        where = [_kill_once(folder, cache, size, report, chance) for _ in range(wanted)]
        completed = ReplayedLog.of(EventTail(folder).poll()).completed  # before the last kill came
        status = 0 if completed else Life(folder, script(), cache=cache).wait()
        report.runs += 1
        wrong = log_problems(folder)
        if status:
            wrong.append(f"ended with status {status}")
        else:
            wrong += expected.difference(Outcome.of(folder))
        report.identical += not wrong
        if wrong:
            report.problems.append(f"{folder.path}, killed at bytes {where}: {', '.join(wrong)}")
    return report


def _kill_once(folder: RunFolder, cache: Path, size: int, report: Report, chance: random.Random) -> int:
    """Kill when the log has grown to a random length, or a random while after that; returns its length then."""
    life = Life(folder, script(), cache=cache)
    began = folder.events.stat().st_size if folder.events.exists() else 0
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0.0, 1.0))  # while it starts
    else:
        wait_for_bytes(folder, began + int(chance.uniform(0.0, 0.6) * size), life)
        time.sleep(chance.uniform(0.0, 0.05))
    seen = folder.events.read_bytes() if folder.events.exists() else b""
    life.kill()
    report.instants += 1
    seen = seen[: seen.rfind(b"\n") + 1]
    now = folder.events.read_bytes() if folder.events.exists() else b""
    report.lines_lost += not now.startswith(seen)
    return len(now)
