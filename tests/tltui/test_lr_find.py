"""``tltui lr-find``, as a real process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import RunConfig, to_toml
from tests.tltui.test_command_line import CommandLine


@pytest.fixture
def tltui(tmp_path: Path, config: Callable[..., RunConfig]) -> CommandLine:
    command = CommandLine(tmp_path)
    (command.folder / "run.toml").write_text(to_toml(config()))
    return command


def test_rates_are_found_as_text_and_as_json_and_no_run_is_made(tltui: CommandLine):
    done = tltui("lr-find", "run.toml", "--set", "freeze.rules=[]", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"head", "backbone"}
    for part in found.values():
        assert {"rates", "losses", "steepest", "minimum_tenth", "suggested"} <= set(part)
        assert len(part["rates"]) == len(part["losses"]) > 10
    text = tltui("lr-find", "run.toml")
    assert text.returncode == 0, text.stderr
    assert all(words in text.stdout for words in ("Head", "steepest", "minimum / 10", "Taken: "))
    assert "Backbone" not in text.stdout
    rate = text.stdout.split("--set optimizer.lr=")[1].strip()
    assert tltui("train", "run.toml", "--set", f"optimizer.lr={rate}", "--set", "train.epochs=1").returncode == 0
    assert len(list(tltui.runs.iterdir())) == 1


def test_what_can_not_be_tested_is_one_sentence(tltui: CommandLine):
    for arguments, says in (
        (("nowhere.toml",), "can't be read"),
        (("run.toml", "--set", "optimizer.rate=1"), "is not a setting"),
        (("run.toml", "--set", "data.path=nowhere"), "no such folder"),
    ):
        refused = tltui("lr-find", *arguments)
        assert (refused.returncode, says in refused.stderr, len(refused.stderr.splitlines())) == (2, True, 1)
