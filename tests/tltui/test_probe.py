"""``tltui probe``, as a real process."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, load, to_toml
from engine.experiments.linear_probe.results import (
    HEAD_INPUT,
    Backbone,
    ImageCounts,
    ProbeResults,
    Recommendation,
    Stage,
)
from tests.tltui.test_command_line import CommandLine
from tltui.cli.options import overrides
from tltui.settings.probe_recommendation import as_options, as_toml, recommended_changes
from tltui.tables.probe import Layout, probe_page
from tltui.text.glyphs import ASCII, UNICODE, Glyphs


@pytest.fixture
def tltui(tmp_path: Path, config: Callable[..., RunConfig]) -> CommandLine:
    command = CommandLine(tmp_path)
    (command.folder / "run.toml").write_text(to_toml(config()))
    return command


def test_stages_are_probed_as_text_and_as_json_and_no_run_is_made(tltui: CommandLine):
    done = tltui("probe", "run.toml", "--json", "--model", "timm/test_resnet", "--model", "timm/test_vit")
    assert done.returncode == 0, done.stderr
    probed = json.loads(done.stdout)
    assert {backbone["model"] for backbone in probed["backbones"]} == {"timm/test_resnet", "timm/test_vit"}
    first, second = (backbone["stages"][-1]["logme"] for backbone in probed["backbones"])
    assert first >= second
    assert probed["images"]["used_train"] == 24
    assert probed["recommendation"]["trains"] == "everything"  # there are no pretrained weights
    text = tltui("probe", "run.toml")
    assert text.returncode == 0, text.stderr
    shown = ("24 of 24 training images", "layer4", "can't be judged", "Recommendation")
    assert all(words in text.stdout for words in shown)
    options = shlex.split(text.stdout.split("to train with this: ")[1].splitlines()[0])
    assert load(tltui.folder / "run.toml", overrides(tuple(options[1::2]))).freeze.rules == ["train *"]
    assert not tltui.runs.exists() or not list(tltui.runs.iterdir())


def test_what_can_not_be_read_is_one_sentence(tltui: CommandLine):
    refused = tltui("probe", "nowhere.toml")
    assert (refused.returncode, "can't be read" in refused.stderr, len(refused.stderr.splitlines())) == (2, True, 1)


def probed(models: int) -> ProbeResults:
    names = ["conv1", "a.very.long.path.to.the.layer.of.a.stage", "layer4", HEAD_INPUT]
    stages = [
        Stage(name, [name], 512, accuracy, adds, 0.0, 0.01, -0.5)
        for name, accuracy, adds in zip(names, (0.5, 0.7, 0.65, 1.0), (0.4, 0.2, -0.05, 0.35), strict=True)
    ]
    backbones = [
        Backbone(f"timm/a_rather_long_name_of_a_network_{at}", True, 5_000_000, stages, 1.0, None)
        for at in range(models)
    ]
    settings = {"freeze.rules": ["freeze *", "train head"], "optimizer.lr": 0.003}
    advice = Recommendation(backbones[0].model, "head", False, True, settings, ["Word " * 60])
    return ProbeResults(ImageCounts(10, 12_345, 2345, 2000, 1000), backbones, advice)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_the_page_fits_into_the_width_and_draws_a_bar_for_each_stage(width: int, glyphs: Glyphs):
    text = ["".join(part for part, _ in row) for row in probe_page(probed(2), Layout(width, glyphs))]
    assert all(len(line) <= width for line in text)
    bars = [line for line in text if glyphs.bar_full * 2 in line]
    assert len(bars) == 8
    assert glyphs.bar_empty not in bars[3].split("  ")[-4]
    assert any("ranked" in line or "Networks by LogME" in line for line in text)
    assert "2,000 of 12,345 training images" in text[0]


def test_the_settings_to_take_over_are_those_that_differ():
    changes = recommended_changes(probed(1).recommendation, from_tables({"data": {"source": "digits"}}))
    assert set(changes) == {"model.name", "optimizer.lr"}
    changes = {**changes, "freeze.rules": ["freeze *", "train head"]}
    assert shlex.split(as_options(changes))[-1] == 'freeze.rules=["freeze *", "train head"]'
    assert tomllib.loads(as_toml(changes))["freeze"] == {"rules": ["freeze *", "train head"]}
