"""Runs whose disk is full: at one write, or from one write on."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.runs.folder import RunFolder, create
from engine.training.checkpoints import find_damage
from tests.faults.kills import Report, uninterrupted
from tests.faults.lives import Life
from tests.faults.short_run import Outcome, log_problems, script, short_config

_WRITES = ("write", "pwrite", "fsync", "replace", "symlink", "mkdir")
_COUNT = "writes"  # a file with a byte for each write


def full_disk(folder: RunFolder, first: int, last: int) -> None:
    """Have every write to the run's folder from the ``first`` to the ``last`` fail, in this process."""
    from engine.training import checkpoints

    count = os.open(folder.path / _COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    really_write = os.write
    done = 0

    def may_fail(write: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        nonlocal done
        if any(_is_inside(folder, argument) for argument in arguments[:2]):
            done += 1
            really_write(count, b".")
            if first <= done <= last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments)

    for name in _WRITES:
        setattr(os, name, partial(may_fail, getattr(os, name)))
    checkpoints.save_file = partial(may_fail, checkpoints.save_file)


def _is_inside(folder: RunFolder, argument: object) -> bool:
    if isinstance(argument, int):
        try:
            argument = os.readlink(f"/proc/self/fd/{argument}")
        except OSError:
            return False
    return isinstance(argument, str | Path) and str(argument).startswith(str(folder.path))


def fail_at_writes(root: Path, most: int, seed: int) -> Report:
    """Each write of a run fails, alone and with all that follow; ``most`` of the writes are chosen at random."""
    _, expected = uninterrupted(root)
    whole = create(root / "runs", short_config(root))
    _run(whole, root, 0, 0)
    writes = (whole.path / _COUNT).stat().st_size
    report = Report()
    for number in sorted(random.Random(seed).sample(range(1, writes + 1), min(most, writes))):
        for last in (number, writes * 1000):
            folder = create(root / "runs", short_config(root))
            wrong = _one(folder, root, expected, number, last)
            report.instants += 1
            report.runs += 1
            report.identical += not wrong
            if wrong:
                report.problems.append(f"{folder.path}, writes {number} to {last} failed: {', '.join(wrong)}")
    return report


def _one(folder: RunFolder, root: Path, expected: Outcome, first: int, last: int) -> list[str]:
    status = _run(folder, root, first, last)
    links = [folder.checkpoints / name for name in ("last", "best")]
    wrong = [f"{link.name}: {find_damage(link)}" for link in links if link.exists() and find_damage(link)]
    if first == last:
        wrong += [f"status {status}"] if status else []
    else:  # training went on to its end, but nobody could be told
        status = Life(folder, script(), cache=root / "reference-cache").wait()
        wrong += [f"status {status} when there was room again"] if status else []
    wrong += log_problems(folder)
    if wrong:
        return wrong
    different = expected.difference(Outcome.of(folder))
    told = folder.events.read_text()
    # Where the last or the best checkpoint could not be written, the one before it stands there.
    lost = {"weights", "optimizer", "predictions"} if "no checkpoint could be written" in told else set()
    lost |= {"predictions"} if "predictions.csv: can't be written" in told else set()
    return [name for name in different if name not in lost]


def _run(folder: RunFolder, root: Path, first: int, last: int) -> int:
    fault = partial(full_disk, first=first, last=last)
    return Life(folder, script(), fault=fault, cache=root / "reference-cache").wait()
