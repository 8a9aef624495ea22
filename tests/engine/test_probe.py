"""Linear probes, LogME, and the advice that follows."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits, load_sample_images

from engine.config.freeze_rules import decide
from engine.config.schema import HeadConfig, RunConfig
from engine.config.toml_io import from_tables, with_settings
from engine.errors import InputError
from engine.experiments.linear_probe.logme import SourcePredictionsAccumulator, logme
from engine.experiments.linear_probe.probe import choose, pooled, run_linear_probe
from engine.experiments.linear_probe.recommendation import MANY_A_CLASS, MANY_IMAGES, best_stage, recommend
from engine.experiments.linear_probe.results import (
    HEAD_INPUT,
    Backbone,
    ImageCounts,
    ProbeResults,
    SourcePredictions,
    Stage,
)
from engine.models.layer_tree import describe
from engine.runs.progress import quiet
from engine.runs.stopped import Stopped
from tests.conftest import make_weights

LITE0 = "efficientnet_lite0"


def ignore(_code: str, _message: str) -> None:
    """Nobody listens."""


def greatest_evidence(features: np.ndarray, target: np.ndarray) -> float:
    """Of y ~ N(0, I/β + F Fᵀ/α), found by a search over α and β, an image."""
    count = len(target)

    def lacking(logs: np.ndarray) -> float:
        covariance = np.eye(count) / np.exp(logs[1]) + features @ features.T / np.exp(logs[0])
        return -float(multivariate_normal(np.zeros(count), covariance).logpdf(target)) / count

    return -minimize(lacking, np.zeros(2), method="Nelder-Mead", options={"maxiter": 400}).fun


@pytest.mark.parametrize("size", [6, 50])
def test_logme_is_the_greatest_evidence_of_a_bayesian_linear_model(size: int):
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    features = random.normal(0, 1, (30, size)) + random.normal(0, 1, (3, size))[labels] * 0.7
    direct = np.mean([greatest_evidence(features, (labels == label).astype(float)) for label in range(3)])
    assert logme(features, labels) == pytest.approx(direct, abs=2e-3)
    for scale in (1e-6, 1e6):
        assert logme(features * scale, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_logme_tells_features_that_fit_from_noise_and_bears_features_that_say_nothing():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = random.normal(0, 1, (60, 20))
    assert logme(noise + np.eye(3, 20)[labels] * 3, labels) > logme(noise, labels) + 0.1
    assert np.isfinite(logme(np.zeros((60, 5)), labels))


def test_the_images_are_bounded_each_class_keeps_its_share_and_the_smallest_stays():
    labels = [0] * 900 + [1] * 99 + [2]
    chosen = choose(range(1000), labels, 100, seed=1)
    assert (len(chosen), len(set(chosen))) == (100, 100)
    assert np.bincount([labels[i] for i in chosen]) == pytest.approx([90, 9, 1], abs=1)
    assert chosen == choose(range(1000), labels, 100, seed=1) != choose(range(1000), labels, 100, seed=2)
    assert choose([3, 5], labels, 100, seed=1) == [3, 5]


def test_maps_and_tokens_are_pooled_to_a_number_for_each_channel():
    ramp = torch.arange(8.0).expand(2, 3, 3, 8)
    assert torch.equal(pooled(ramp.permute(0, 3, 1, 2)), ramp[:, 0, 0])
    assert torch.equal(pooled(ramp), ramp[:, 0, 0])  # channels last, as Swin has them
    assert torch.equal(pooled(ramp.flatten(1, 2)), ramp[:, 0, 0])
    assert torch.equal(pooled(ramp[:, 0, 0]), ramp[:, 0, 0])


def test_confident_and_varied_predictions_differ_from_uniform_ones():
    sure, same = SourcePredictionsAccumulator(), SourcePredictionsAccumulator()
    assert sure.result() is None
    for batch in np.split(np.eye(10), 2):
        sure.add(batch)
        same.add(np.full((5, 10), 0.1))
    told = sure.result()
    assert told
    assert (told.classes, told.confidence, told.answers) == (10, 1.0, pytest.approx(10))
    told = same.result()
    assert told
    assert (told.confidence, told.answers) == (pytest.approx(0.1), pytest.approx(1))


def test_probes_follow_the_stages_and_leave_the_network_as_it_is(config: Callable[..., RunConfig], tmp_path: Path):
    wanted = config(model={"weights": str(make_weights(tmp_path / "weights.pt"))})
    probed = run_linear_probe(wanted, [wanted.model.name], quiet, ignore)
    backbone = probed.backbones[0]
    tree = describe(wanted.model.name, 3, 32, wanted.head)
    assert [stage.name for stage in backbone.stages] == [*(s.name for s in tree.stages), HEAD_INPUT]
    assert backbone.stages[0].accuracy == backbone.head.accuracy == 1.0  # colours
    assert backbone.stages[0].adds == pytest.approx(2 / 3)
    assert backbone.head.lead == 0
    assert backbone.source
    assert backbone.source.classes == 1000
    assert probed.images == ImageCounts(classes=3, train=24, val=12, used_train=24, used_val=12)
    assert probed == run_linear_probe(wanted, [wanted.model.name], quiet, ignore)


def test_an_unknown_network_is_refused_before_the_first_is_probed(config: Callable[..., RunConfig]):
    reported: list[str] = []
    with pytest.raises(InputError, match="is not known"):
        run_linear_probe(
            config(), ["timm/test_resnet", "resnet1"], lambda activity, *_: reported.append(activity), ignore
        )
    assert not reported


@pytest.mark.parametrize("when", ["features", "probe"])
def test_a_signal_ends_it(config: Callable[..., RunConfig], when: str):
    def interrupt(activity: str, _done: int, _total: int, _unit: str) -> None:
        if activity == when:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        run_linear_probe(config(), ["timm/test_resnet"], interrupt, ignore)


def test_weights_that_are_not_finite_are_refused(config: Callable[..., RunConfig], tmp_path: Path):
    state = torch.load(make_weights(tmp_path / "weights.pt"))
    state["layer1.0.conv1.weight"][0] = torch.nan
    torch.save(state, tmp_path / "weights.pt")
    wanted = config(model={"weights": str(tmp_path / "weights.pt")})
    with pytest.raises(InputError, match="NaN or infinity"):
        run_linear_probe(wanted, [wanted.model.name], quiet, ignore)


# The advice, on facts.

SIMILAR, DIFFERENT = SourcePredictions(1000, 0.7, 40.0), SourcePredictions(1000, 0.3, 3.0)


def network(
    source: SourcePredictions | None, *accuracies: float, mirrored: float = 1.0, pretrained: bool = True
) -> Backbone:
    names = [*(f"layer{at}" for at in range(1, len(accuracies))), HEAD_INPUT]
    stages = [
        Stage(name, [] if name == HEAD_INPUT else [name], 8, accuracy, 0.0, accuracy - accuracies[-1], 0.01, 0.0)
        for name, accuracy in zip(names, accuracies, strict=True)
    ]
    return Backbone("resnet18", pretrained, 11_000_000, stages, mirrored, source)


def images(train: int, classes: int = 5) -> ImageCounts:
    return ImageCounts(classes, train, train // 4, min(train, 2000), min(train // 4, 1000))


LARGE, SMALL = images(MANY_IMAGES), images(100)
RISES, FALLS = (0.5, 0.7, 0.8, 0.9, 0.9), (0.5, 0.9, 0.85, 0.8, 0.8)


def test_the_four_cases_come_out_as_they_are_taught():
    head = recommend(network(SIMILAR, *RISES), SMALL)
    assert (head.trains, head.large, head.similar) == ("head", False, True)
    assert head.settings["freeze.rules"] == ["freeze *", "train head"]

    some = recommend(network(DIFFERENT, *FALLS), SMALL)
    assert (some.trains, some.large, some.similar) == ("stages", False, False)
    assert some.settings["freeze.rules"] == ["freeze *", "train layer3", "train layer4", "train head"]
    assert some.settings["data.augment"] == "flip"

    low = recommend(network(SIMILAR, *RISES), LARGE)
    assert (low.trains, low.large, low.similar) == ("everything", True, True)
    high = recommend(network(DIFFERENT, *FALLS), LARGE)
    assert (high.trains, high.large, high.similar) == ("everything", True, False)
    assert low.settings["freeze.rules"] == high.settings["freeze.rules"] == ["train *"]

    rates, factors = (
        [float(str(advice.settings[f"optimizer.{key}"])) for advice in (low, some, high)]
        for key in ("lr", "backbone_lr_factor")
    )
    assert all(factor < 1 for factor in factors)  # what is pretrained is treated with more care than the new head
    assert rates[0] * factors[0] < rates[2] * factors[2]
    for advice in (head, some, low, high):
        assert with_settings(from_tables({"data": {"source": "digits"}}), advice.settings)
        assert len(advice.reasons) >= 4


def test_an_earlier_stage_that_is_clearly_ahead_tells_of_another_task_whatever_the_classifier_says():
    assert recommend(network(SIMILAR, *FALLS), SMALL).similar is False
    assert recommend(network(None, *FALLS), SMALL).similar is False
    assert recommend(network(None, *RISES), SMALL).similar is True
    assert best_stage(network(None, 0.5, 0.899, 0.9, 0.9).stages).name == "layer2"


def test_few_images_train_at_least_one_stage_and_at_most_half_of_them():
    one = recommend(network(DIFFERENT, *RISES[:-1], 0.95), SMALL).settings["freeze.rules"]
    assert one == ["freeze *", "train layer4", "train head"]
    most = recommend(network(DIFFERENT, 1.0, 1.0, 1.0, 1.0, 1.0), SMALL).settings["freeze.rules"]
    assert most == ["freeze *", "train layer3", "train layer4", "train head"]


def test_no_augmentation_is_advised_where_mirrored_images_are_of_another_class():
    advice = recommend(network(DIFFERENT, *FALLS, mirrored=0.7), SMALL)
    assert advice.settings["data.augment"] == "none"
    assert "augment without flips" in advice.reasons[-1]


def test_many_images_of_many_classes_are_few_and_without_weights_everything_trains():
    assert not recommend(network(SIMILAR, *RISES), images(1000, 1000 // MANY_A_CLASS + 1)).large
    advice = recommend(network(None, *RISES, pretrained=False), SMALL)
    assert (advice.trains, advice.similar) == ("everything", None)
    assert any("can't be judged" in reason for reason in advice.reasons)


# The advice, on images made for it, with ImageNet weights.


def photographs(folder: Path, a_class: int) -> Path:
    """Parts of two photographs, of six classes: where in which photograph they are, with neighbours that overlap."""
    random = np.random.default_rng(0)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for part, left in enumerate((0, 160, 320)):
            target = folder / f"{name}-{part}"
            target.mkdir(parents=True)
            for number in range(a_class):
                side = int(random.integers(180, 320))
                x = left + int(random.integers(0, 641 - 320 - side + 160)) if side < 200 else min(left, 640 - side)
                y = int(random.integers(0, 427 - side))
                tile = Image.fromarray(photograph[y : y + side, x : x + side])
                tile.resize((112, 112), Image.Resampling.LANCZOS).save(target / f"{number:03}.png")
    return folder


def handwriting(folder: Path, a_class: int) -> Path:
    """scikit-learn's digits."""
    digits = load_digits()
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
        for number, at in enumerate(np.flatnonzero(digits.target == label)[:a_class]):
            pixels = (digits.images[at] * 15.9).astype(np.uint8)
            Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{label}/{number:03}.png")
    return folder


def probed_with_lite0(folder: Path) -> ProbeResults:
    shares = {"val_fraction": 0.3, "test_fraction": 0.0}
    tables = {"data": {"path": str(folder), "image_size": 96, **shares}, "train": {"device": "cpu"}}
    return run_linear_probe(from_tables(tables), [LITE0], quiet, ignore)


MADE = [
    pytest.param(photographs, 12, "head", True, id="few photographs"),
    pytest.param(handwriting, 15, "stages", False, id="few digits"),
    pytest.param(photographs, 130, "everything", True, id="many photographs", marks=pytest.mark.slow),
    pytest.param(handwriting, 80, "everything", False, id="many digits", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("make", "a_class", "trains", "similar"), MADE)
def test_on_images_made_for_it_each_case_comes_out_as_it_is_taught(
    make: Callable[[Path, int], Path], a_class: int, trains: str, similar: bool, tmp_path: Path
):
    probed = probed_with_lite0(make(tmp_path / "images", a_class))
    advice = probed.recommendation
    assert (advice.trains, advice.similar) == (trains, similar), (advice.reasons, probed.backbones[0].source)
    tree = describe(LITE0, probed.images.classes, 96, HeadConfig())
    rules = advice.settings["freeze.rules"]
    assert isinstance(rules, list)
    decisions = decide(rules, tree)
    if trains == "stages":
        assert decisions["conv_head"].trainable
        assert not decisions["blocks.2"].trainable
