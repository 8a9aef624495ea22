"""``tltui evaluate``, as a real process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml
from tests.tltui.test_command_line import CommandLine


@pytest.fixture
def tltui(tmp_path_factory: pytest.TempPathFactory, config: Callable[..., RunConfig]) -> CommandLine:
    """With one run, which is completed."""
    command = CommandLine(tmp_path_factory.mktemp("evaluate"))
    (command.folder / "run.toml").write_text(to_toml(config()))
    assert command("train", "run.toml").returncode == 0
    return command


def figures(tltui: CommandLine, *arguments: str) -> dict:
    done = tltui("evaluate", "last", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_is_evaluated_again_on_its_own_images_and_on_others(tltui: CommandLine, config: Callable[..., RunConfig]):
    folder = tltui.only_run()
    names = {"classes", "per_class", "confusion", "top5", "macro_f1", "roc_auc", "log_loss", "ece", "balanced_accuracy"}
    for split in ("val", "test"):
        told = json.loads((folder.evaluation / f"{split}.json").read_text())
        again = figures(tltui, "--split", split)
        assert names | {"split", "count", "accuracy", "accuracy_interval"} <= set(again)
        assert {key: again[key] for key in again if key != "images_per_second"} == {
            key: told[key] for key in again if key != "images_per_second"
        }
    assert figures(tltui)["split"] == "test"

    images = tltui.folder / "others"
    first = again["classes"][0]
    shutil.copytree(f"{config().data.path}/{first}", images / first)
    others = figures(tltui, "--data", "others")
    assert (others["split"], others["classes"]) == ("all", again["classes"])
    assert [row["support"] for row in others["per_class"]] == [others["count"], 0, 0]
    assert others["roc_auc"] is None

    said = tltui("evaluate", "last")
    assert f"test accuracy {again['accuracy']:.1%}" in said.stdout
    assert "calibration error" in said.stdout

    shutil.copytree(images / first, images / "\x1b[31mred")
    refused = tltui("evaluate", "last", "--data", "others")
    assert refused.returncode == 2
    assert "is not a class of the run" in refused.stderr
    assert "\x1b" not in refused.stderr


def test_what_can_not_be_evaluated_is_one_sentence(tltui: CommandLine):
    folder = tltui.only_run()
    for arguments, says in (
        (("--data", "nowhere"), "there is no such folder"),
        (("--device", "cuda:9"), "is not there"),
    ):
        refused = tltui("evaluate", "last", *arguments)
        assert (refused.returncode, says in refused.stderr, len(refused.stderr.splitlines())) == (2, True, 1)
    (folder.checkpoints / "best" / "model.safetensors").write_bytes(b"not it")
    refused = tltui("evaluate", "last")
    assert (refused.returncode, "damaged" in refused.stderr) == (2, True)
    shutil.rmtree(folder.checkpoints)
    refused = tltui("evaluate", "last")
    assert (refused.returncode, "no usable checkpoint" in refused.stderr) == (2, True)
