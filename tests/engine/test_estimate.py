"""What a plan costs: the cut that is reckoned with is the one that is made, and the times are those that come."""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import torch

from engine.compute.precision import Precision
from engine.config.layer_tree import LayerTree
from engine.config.schema import HeadConfig, RunConfig
from engine.costs.estimate import LoopCosts, Profile, estimate, read_plan
from engine.costs.profile import measure_network
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.layer_tree import describe
from engine.models.split import split
from engine.runs.event_log import EventTail
from engine.runs.events import DataReady, Epoch
from tests.conftest import Engine, make_images

Configs = Callable[..., RunConfig]

# Networks of different families, each with a late layer and one in the middle.
NETWORKS = [
    ("timm/test_resnet", "layer4", "layer2"),
    ("timm/test_efficientnet", "blocks.3", "blocks.1"),
    ("timm/test_vit", "blocks.5", "blocks.2"),
    ("timm/test_convnext", "stages.3", "stages.1"),
    ("squeezenet1_1", "features.12", "features.4"),
    pytest.param("mobilenet_v3_small", "features.12", "features.4", marks=pytest.mark.slow),
    pytest.param("densenet121", "features.denseblock4", "features.transition2", marks=pytest.mark.slow),
    pytest.param("googlenet", "inception5b", "inception4a", marks=pytest.mark.slow),
]
CPU = Precision("fp32", torch.device("cpu"))
NO_LOOP = LoopCosts(step=0.0, evaluation_step=0.0, epoch=0.0, memory=0)


@functools.cache
def measured(name: str) -> tuple[registry.Classifier, Profile, LayerTree]:
    side = 0 if name.startswith("timm/") else 64
    classifier = registry.build(name, 3, HeadConfig(), side)
    return classifier, measure_network(classifier, CPU, CPU, 2, NO_LOOP), describe(name, 3, side, HeadConfig())


@pytest.mark.parametrize(("name", "late", "middle"), NETWORKS)
def test_the_estimate_cuts_a_network_where_the_engine_does(name: str, late: str, middle: str, config: Configs):
    classifier, known, tree = measured(name)
    for rules in (
        ["freeze *", "train head"],
        ["freeze *", f"train {late}", "train head"],
        ["freeze *", f"train {middle}", "train head"],
        ["train *", f"freeze {middle}"],
        ["freeze *", "train *.bias"],
    ):
        freezing = Freezing(classifier.module, classifier.head, "follow")
        freezing.apply(rules)
        made = split(classifier, freezing)
        plan = read_plan(known.operations, tree, config(freeze={"rules": rules}))
        names = [known.operations[at].name for at in sorted(plan.cached)]
        assert names == ([] if made.kind == "none" else [tensor.name for tensor in made.boundary]), rules


# Cuts inside a block: behind attention, which returns several tensors; beside a classifier that stays frozen.
UNUSUAL_CUTS = [
    pytest.param("vit_b_32", "encoder.layers.encoder_layer_11.mlp", marks=pytest.mark.slow),
    ("timm/test_vit", "blocks.3.mlp"),
    pytest.param("densenet121", "features.denseblock3.denselayer5", marks=pytest.mark.slow),
    pytest.param("googlenet", "aux2.fc1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "trained"), UNUSUAL_CUTS)
def test_the_estimate_cuts_inside_blocks_where_the_engine_does(name: str, trained: str, config: Configs):
    classifier, known, tree = measured(name)
    rules = ["freeze *", f"train {trained}"]
    freezing = Freezing(classifier.module, classifier.head, "follow")
    freezing.apply(rules)
    plan = read_plan(known.operations, tree, config(freeze={"rules": rules}))
    names = [known.operations[at].name for at in sorted(plan.cached)]
    assert names == [tensor.name for tensor in split(classifier, freezing).boundary]


def test_frozen_batch_statistics_move_the_cut(config: Configs):
    _, known, tree = measured("timm/test_resnet")
    rules = ["freeze *", "train layer4", "train head"]
    for norm_stats, in_training in (("follow", True), ("frozen", False)):
        plan = read_plan(known.operations, tree, config(freeze={"rules": rules, "norm_stats": norm_stats}))
        assert plan.modes["layer4.0.bn1"] == in_training
        assert not plan.modes["layer1.0.bn1"]


def test_what_trains_deeper_costs_more(config: Configs):
    _, known, tree = measured("timm/test_resnet")
    found = [
        estimate(known, tree, config(freeze={"rules": rules}, train={"batch_size": 64}), {"train": 100, "val": 20})
        for rules in (
            ["freeze *", "train head"],
            ["freeze *", "train layer3", "train layer4", "train head"],
            ["train *"],
        )
    ]
    for less, more in pairwise(found):
        assert less.epoch_seconds < more.epoch_seconds
        assert less.memory_bytes < more.memory_bytes
    assert found[0].first_epoch_seconds > found[0].epoch_seconds
    assert found[2].first_epoch_seconds == found[2].epoch_seconds
    assert found[2].cached_bytes == 0


def test_augmented_views_are_cached_each(config: Configs):
    _, known, tree = measured("timm/test_resnet")
    cached = {
        augment: estimate(known, tree, config(data={"augment": augment}), {"train": 100, "val": 0}).cached_bytes
        for augment in ("none", "flip", "standard")
    }
    assert cached["flip"] == 2 * cached["none"]
    assert cached["standard"] == 8 * cached["none"]


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_mixed_images_pay_for_the_frozen_layers_in_each_epoch(mixing: str, config: Configs):
    _, known, tree = measured("timm/test_resnet")
    images = {"train": 100, "val": 20}
    plain, mixed = (estimate(known, tree, config(train=train), images) for train in ({}, {mixing: 0.2}))
    assert plain.mixing_seconds == 0
    assert mixed.mixing_seconds > 0
    assert mixed.epoch_seconds == pytest.approx(plain.epoch_seconds + mixed.mixing_seconds)
    assert mixed.cached_bytes == pytest.approx(plain.cached_bytes / 6)
    assert mixed.epoch_seconds < mixed.first_epoch_seconds
    whole = estimate(known, tree, config(freeze={"rules": []}, train={mixing: 0.2}), images)
    assert whole.mixing_seconds == 0, "no layer is frozen, so nothing would have been cached"


def asked_for(model: str, run: RunConfig) -> Profile:
    """The profile as the app has it measured: in a process of its own."""
    options = ["--classes", "3", "--image-size", str(run.data.image_size), "--batch-size", str(run.train.batch_size)]
    command = [sys.executable, "-m", "tltui", "inspect", model, "--profile", "--json", "--device", "cpu", *options]
    return msgspec.json.decode(subprocess.run(command, check=True, capture_output=True).stdout, type=Profile)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stage"), [("resnet18", "layer4"), ("efficientnet_lite0", "blocks.6")])
def test_epochs_take_what_was_estimated(model: str, stage: str, config: Configs, engine: Engine, tmp_path: Path):
    """Meaningful on a machine that does nothing else: both times are wall-clock."""
    data = {"path": str(make_images(tmp_path / "many", per_class=160)), "image_size": 128}
    tree = describe(model, 3, 128, HeadConfig())
    ratios = {}
    for plan in ("head", stage, "*"):
        rules = ["freeze *", "train head", f"train {plan}"]
        run = config(
            data=data, model={"name": model}, freeze={"rules": rules}, train={"epochs": 10 if plan == "head" else 4}
        )
        known = asked_for(model, run)
        folder, _, status = engine.run(run)
        assert status == 0
        events = list(EventTail(folder).poll())
        (ready,) = (event for event in events if isinstance(event, DataReady))
        ends = [event.time for event in events if isinstance(event, Epoch)]
        seconds = statistics.median(after - before for before, after in pairwise(ends))
        expected = estimate(known, tree, run, ready.counts)
        ratios[plan] = expected.epoch_seconds / seconds
        print(f"{model}, {plan}: {expected.epoch_seconds:.3f} s estimated, {seconds:.3f} s taken")  # noqa: T201
    assert all(0.75 < ratio < 1.25 for ratio in ratios.values()), ratios


@pytest.mark.slow
def test_a_profile_is_measured_once(config: Configs):
    run = config(data={"image_size": 0})
    assert asked_for("timm/test_resnet", run) == asked_for("timm/test_resnet", run)
