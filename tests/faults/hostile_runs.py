"""Run folders as a stranger may send them: what to change in the folder of a run that ended in order."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

Spoil = Callable[[Path], object]
ESCAPES = "\x1b[2J\x1b]0;pwned\x07\u009b31m\u202e[bold]"


def appended(*events: dict[str, object] | bytes) -> Spoil:
    """The run's log with more lines at its end."""

    def spoil(run: Path) -> None:
        with (run / "events.jsonl").open("ab") as log:
            for event in events:
                log.write(event if isinstance(event, bytes) else json.dumps({"seq": 90, "time": 1.0, **event}).encode())
                log.write(b"\n")

    return spoil


def in_place_of(name: str, make: Callable[[Path], object]) -> Spoil:
    def spoil(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        make(path)

    return spoil


def every_text_escaped(run: Path) -> None:
    """Every text field of every event holds what a terminal would obey."""

    def escaped(value: object, key: str = "") -> object:
        match value:
            case str() if key not in ("type", "status"):
                return ESCAPES + value
            case list():
                return [escaped(item) for item in value]
            case dict():
                return {name: escaped(item, name) for name, item in value.items()}
        return value

    lines = [json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines()]
    (run / "events.jsonl").write_text("".join(json.dumps(escaped(line)) + "\n" for line in lines))


def huge_line(run: Path) -> None:
    with (run / "events.jsonl").open("ab") as log:
        log.write(b'{"type":"warning","code":"x","message":"' + b"x" * 100 * 2**20 + b'"}\n')


STEP = {
    "type": "step",
    "epoch": 1,
    "loss": 1e308,
    "lr": {"head": 1e308},
    "grad_norm": 1e308,
    "images_per_second": 1e308,
}
LINK = in_place_of("events.jsonl", lambda path: path.symlink_to("/etc/passwd"))

RUNS: dict[str, Spoil] = {
    "escape sequences in every text": every_text_escaped,
    "a log that is a link to /etc/passwd": LINK,
    "a log that is a pipe": in_place_of("events.jsonl", os.mkfifo),
    "a log that is a device without an end": in_place_of("events.jsonl", lambda path: path.symlink_to("/dev/zero")),
    "a log that is a folder": in_place_of("events.jsonl", Path.mkdir),
    "settings that are a pipe": in_place_of("run.toml", os.mkfifo),
    "a lock that is a pipe": in_place_of("engine.lock", os.mkfifo),
    "commands that are a pipe": in_place_of("commands.jsonl", os.mkfifo),
    "predictions that are a pipe": in_place_of("predictions.csv", os.mkfifo),
    "a checkpoint that leads elsewhere": in_place_of("checkpoints/last", lambda path: path.symlink_to("../../..")),
    "a line of 100 MiB": huge_line,
    "a line nested 100,000 deep": appended(
        b'{"type":"command_applied","step":1,"command":{"type":"set","id":"x","key":"k","value":' + b"[" * 100_000
    ),
    "1e308 steps": appended({**STEP, "step": 1e308}),
    "a step of 400 digits": appended(b'{"type":"step","seq":9,"step":' + b"9" * 400 + b"}"),
    "figures of 1e308": appended({**STEP, "step": 2**50}),
    "negative numbers": appended({**STEP, "step": -5, "seq": -1}),
    "a confusion matrix that fits no classes": appended(
        {
            "type": "evaluated", "split": "test", "count": 1, "log_loss": 0.1, "accuracy": 1.0,
            "accuracy_interval": [0, 1],
            "balanced_accuracy": 1.0, "macro_f1": 1.0, "classes": ["a", "b"], "per_class": [],
            "confusion": [[1], [2, 3]], "images_per_second": 1.0,
        }
    ),
    "a rule list that is a number": appended(
        {"type": "command_applied", "step": 1, "command": {"type": "set", "id": "x", "key": "freeze.rules", "value": 7}}
    ),
    "bytes that are no UTF-8": appended(b'{"type":"warning","code":"x","message":"\xff\xfe"}'),
    "settings with a path that leads elsewhere": lambda run: (run / "run.toml").write_text(
        '[data]\npath = "../../../../etc"\n[model]\nweights = "/etc/passwd"\n'
    ),
}  # fmt: skip
