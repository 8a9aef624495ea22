"""model.json: what is written is what is read, and a file from elsewhere is refused in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.freeze_rules import decide, module_facts, subtree_states, training_modes
from engine.config.layer_tree import LayerTree, read_layer_tree
from engine.config.schema import HeadConfig
from engine.errors import InputError
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import describe
from tests.ui.networks import network

WRITTEN = Path(__file__).parents[1] / "ui" / "data" / "resnet18.json"
Content = dict[str, Any]


def test_a_layer_tree_is_written_as_it_was_read():
    tree = read_layer_tree(WRITTEN)
    assert json.loads(msgspec.json.encode(tree)) == json.loads(WRITTEN.read_bytes())
    assert list(json.loads(msgspec.json.encode(tree))["layers"][0]) == [
        "path", "type", "parameters", "own", "total", "buffers", "output", "order", "batch_statistics",
    ]  # fmt: skip


def orphan(content: Content) -> None:
    content["layers"][5]["path"] = "nowhere.conv"


def deep(content: Content) -> None:
    for depth in range(1, 2000):
        content["layers"].append({**content["layers"][0], "path": ".".join("a" * depth)})


def stray_head(content: Content) -> None:
    content["head"] = ["\x1b[31mclassifier"]


def dotted_parameter(content: Content) -> None:
    content["layers"][3]["parameters"] = {"a.b": [3]}


def twice(content: Content) -> None:
    content["layers"].append(content["layers"][-1])


def huge_shape(content: Content) -> None:
    content["layers"][3]["parameters"] = {"weight": [2**50] * 8}


def no_layers(content: Content) -> None:
    content["layers"] = []


def text_for_a_number(content: Content) -> None:
    content["layers"][1]["total"] = "many"


@pytest.mark.parametrize(
    "spoil", [orphan, deep, stray_head, dotted_parameter, twice, huge_shape, no_layers, text_for_a_number]
)
def test_a_tree_that_does_not_fit_together_is_refused(spoil: Callable[[Content], None], tmp_path: Path):
    content = json.loads(WRITTEN.read_bytes())
    spoil(content)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.json: holds no layer tree \(.*\); remove it") as caught:
        read_layer_tree(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"name": "resnet18"}'])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no layer tree"):
        read_layer_tree(path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(InputError, match="it is a pipe, not a file"):
        read_layer_tree(tmp_path / "model.json")


def test_a_file_of_any_size_is_read_in_bounds(tmp_path: Path):
    path = tmp_path / "model.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_layer_tree(path)


RULES = [
    ["freeze *", "train head"],
    ["freeze *", "train layer4", "train head"],
    ["train *", "freeze *.bn1"],
    ["freeze layer?", "train layer3.0.bn2"],
]


@pytest.mark.parametrize("norm_stats", ["follow", "frozen"])
@pytest.mark.parametrize("rules", RULES)
def test_the_tree_foresees_the_mode_of_every_module(rules: list[str], norm_stats: str):
    classifier = registry.build("resnet18", 10, HeadConfig(), 64, on_meta=False)
    freezing = Freezing(classifier.module, classifier.head, norm_stats)
    freezing.apply(rules)
    freezing.train_mode()
    tree = describe("resnet18", 10, 64, HeadConfig())
    decisions = decide(rules, tree)
    foreseen = training_modes(module_facts(tree), decisions, norm_stats)
    assert foreseen == {path: layer.training for path, layer in classifier.module.named_modules()}
    assert {name for name in tree.parameter_sizes if decisions[name].trainable} == set(freezing.trainable)


def test_a_layer_is_mixed_where_a_part_of_it_is_frozen():
    tree: LayerTree = network({"a": {"x": {"w": [1]}, "y": {"w": [1]}, "norm": "statistics"}, "fc": {"w": [1]}}, ["fc"])
    states = subtree_states(tree, decide(["freeze *", "train a.x", "train fc"], tree))
    assert states == {
        "": "mixed", "a": "mixed", "a.x": "trainable", "a.x.w": "trainable", "a.y": "frozen", "a.y.w": "frozen",
        "a.norm": "frozen", "fc": "trainable", "fc.w": "trainable",
    }  # fmt: skip
