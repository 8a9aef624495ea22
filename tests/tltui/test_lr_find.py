"""``tltui lr-find``, as a real process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml
from engine.experiments.lr_range_test.curve import RATES, Curve, RangeTestResult, suggest_rate
from tests.tltui.test_command_line import CommandLine
from tltui.settings.lr_suggestion import suggested_settings
from tltui.tables.lr_curve import Layout, result_page


@pytest.fixture
def tltui(tmp_path: Path, config: Callable[..., RunConfig]) -> CommandLine:
    command = CommandLine(tmp_path)
    (command.folder / "run.toml").write_text(to_toml(config()))
    return command


def test_rates_are_found_as_text_and_as_json_and_no_run_is_made(tltui: CommandLine):
    done = tltui("lr-find", "run.toml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"head", "backbone"}
    assert found["backbone"] is None
    assert {"rates", "losses", "steepest", "minimum_tenth", "suggested"} <= set(found["head"])
    assert len(found["head"]["rates"]) == len(found["head"]["losses"]) > 10
    text = tltui("lr-find", "run.toml")
    assert text.returncode == 0, text.stderr
    assert all(words in text.stdout for words in ("Head", "steepest", "minimum / 10", "Suggested: "))
    assert "Backbone" not in text.stdout
    rate = text.stdout.split("--set optimizer.lr=")[1].strip()
    assert tltui("train", "run.toml", "--set", f"optimizer.lr={rate}", "--set", "train.epochs=1").returncode == 0
    assert len(list(tltui.runs.iterdir())) == 1


@pytest.mark.parametrize("width", [70, 120])
@pytest.mark.parametrize("marker", ["braille", "ascii"])
def test_both_curves_fit_into_the_width_and_say_what_is_suggested(width: int, marker: str):
    count = 60
    falls = suggest_rate([[2 - 1 / (1 + math.exp(-4 * (math.log10(rate) + 3))) for rate in RATES]])
    never = Curve(RATES[:count], [1.0] * count, None, None, None, "no suggestion: it never falls")
    rows = result_page(RangeTestResult(falls, never), Layout(width, 8, marker))
    text = ["".join(part for part, _ in row) for row in rows]
    assert all(len(line) <= width for line in text)
    assert all(words in "\n".join(text) for words in ("Head", "Backbone", f"{falls.suggested:g}", "No suggestion"))
    assert suggested_settings(RangeTestResult(falls, never), 0.5) == {"optimizer.lr": falls.suggested}
    assert falls.suggested
    assert suggested_settings(RangeTestResult(never, falls), 0.5) == {
        "optimizer.backbone_lr_factor": pytest.approx(falls.suggested / 0.5, rel=0.05)
    }


def test_what_can_not_be_tested_is_one_sentence(tltui: CommandLine):
    for arguments, says in (
        (("nowhere.toml",), "can't be read"),
        (("run.toml", "--set", "optimizer.rate=1"), "is not a setting"),
        (("run.toml", "--set", "data.path=nowhere"), "no such folder"),
    ):
        refused = tltui("lr-find", *arguments)
        assert (refused.returncode, says in refused.stderr, len(refused.stderr.splitlines())) == (2, True, 1)
