"""A config's recipe names layers of its own network: what commands make of it with another one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from tests.tltui.test_command_line import CommandLine
from tltui.cli.options import overrides

OTHER = "timm/test_vit"
PHASES = [
    {"epochs": 1, "rules": ["freeze *", "train head"]},
    {"epochs": 1, "rules": ["freeze *", "train layer4", "train head"]},
]
SENTENCE = 'phase {} of recipe.phases: the rule "train layer4" matches no layer; '


@pytest.fixture
def tltui(tmp_path: Path, config: Callable[..., RunConfig]) -> CommandLine:
    """With a run.toml for a ResNet, whose first phase suits any network, and first.toml, whose first one does not."""
    command = CommandLine(tmp_path)
    for name, phases in (("run.toml", PHASES), ("first.toml", PHASES[::-1])):
        (command.folder / name).write_text(to_toml(config(recipe={"phases": phases})))
    return command


def test_a_probe_needs_no_plan_of_its_network(tltui: CommandLine):
    done = tltui("probe", "first.toml", "--json", "--model", OTHER, "--model", "timm/test_resnet")
    assert done.returncode == 0, done.stderr
    assert {backbone["model"] for backbone in json.loads(done.stdout)["backbones"]} == {OTHER, "timm/test_resnet"}


def test_the_advice_of_a_probe_can_be_taken_over_from_a_config_with_a_recipe(tltui: CommandLine):
    text = tltui("probe", "run.toml", "--model", OTHER)
    assert text.returncode == 0, text.stderr
    options = shlex.split(text.stdout.split("to train with this: ")[1].splitlines()[0])
    taken = load(tltui.folder / "run.toml", overrides(tuple(options[1::2])))
    assert (taken.model.name, taken.recipe.phases) == (OTHER, [])


@pytest.mark.parametrize(("config_file", "phase"), [("run.toml", 2), ("first.toml", 1)])
@pytest.mark.parametrize("command", [["lr-find"], ["train", "--headless"]], ids=["lr-find", "train"])
def test_a_phase_that_does_not_fit_is_refused_with_what_to_do(
    command: list[str], config_file: str, phase: int, tltui: CommandLine
):
    refused = tltui(command[0], config_file, *command[1:], "--set", f"model.name={OTHER}")
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if "phases" in line]
    assert SENTENCE.format(phase) in line
    assert line.endswith(f"change its rules to layers of {OTHER}, or train without phases: recipe.phases = []")
    assert "Traceback" not in refused.stderr


def test_a_sweep_over_networks_names_the_phase_that_does_not_fit(tltui: CommandLine):
    (tltui.folder / "sweep.toml").write_text(
        f'base = "run.toml"\nsampler = "grid"\n[space]\n"model.name" = ["{OTHER}"]\n'
    )
    refused = tltui("sweep", "sweep.toml")
    assert refused.returncode == 2
    assert SENTENCE.format(2) in refused.stderr
    assert "recipe.phases = []" in refused.stderr
    assert "Traceback" not in refused.stderr
