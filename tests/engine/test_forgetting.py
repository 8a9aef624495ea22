"""What a network that is fine-tuned forgets is measured as the literature does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.compute.precision import Precision
from engine.config.schema import HeadConfig, RunConfig
from engine.config.toml_io import with_setting
from engine.models import registry
from engine.models.freezing import Freezing
from engine.models.split import split
from engine.models.stage_features import HEAD_INPUT, Suffix, of_whole
from engine.process.session_setup import set_up_session
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import Forgetting, Warning
from engine.runs.replay import ReplayedLog
from engine.training.cka import gram, linear_cka
from engine.training.control import Control
from engine.training.loop import fit
from engine.training.run_context import RunContext
from engine.training.session import Session
from tests.conftest import TINY, Sessions, make_weights

LAST_STAGE = ["freeze *", "train layer4", "train head"]
GENTLE = {"lr": 1e-9}
ROUGH = {"name": "sgd", "lr": 0.1, "backbone_lr_factor": 100.0, "clip_norm": 0.0}


def events(session: Session, kind: type) -> list:
    return [event for event in EventTail(session.context.folder).poll() if isinstance(event, kind)]


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def plain_cka(x: np.ndarray, y: np.ndarray) -> float:
    """From the unbiased estimate of HSIC as Song et al. 2012 write it (JMLR 13, equation 5)."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        both = np.trace(k @ m) + k.sum() * m.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (k @ m).sum()
        return both / n / (n - 3)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_cka_equals_the_published_estimate():
    x, y = numbers(40, 12), numbers(40, 30)
    y[:, :12] += x
    assert linear_cka(gram(x), gram(y)) == pytest.approx(plain_cka(x.double().numpy(), y.double().numpy()))
    assert linear_cka(gram(x), gram(x)) == pytest.approx(1.0)


def test_cka_is_invariant_to_rotation_scale_and_offset_and_0_for_noise():
    x = numbers(40, 3000)
    rotation, _ = torch.linalg.qr(numbers(3000, 3000))
    assert linear_cka(gram(x), gram(3 * x @ rotation + 5)) == pytest.approx(1.0, abs=1e-4)
    assert linear_cka(gram(x), gram(numbers(40, 3001))) < 0.1
    assert linear_cka(gram(x), gram(torch.ones(40, 3))) is None


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("resnet18", LAST_STAGE),
        ("resnet18", []),
        ("efficientnet_lite0", ["freeze *", "train blocks.5", "train blocks.6", "train conv_head", "train head"]),
        ("timm/test_vit", ["freeze *", "train blocks.3", "train norm", "train head"]),
        ("densenet121", ["freeze *", "train features.denseblock4", "train features.norm5", "train head"]),
        ("convnext_tiny", ["freeze *", "train features.7", "train classifier", "train head"]),
        (
            "mobilenet_v3_small",
            ["freeze *", "train features.10", "train features.11", "train features.12", "train head"],
        ),
    ],
)
def test_stage_outputs_are_the_same_in_the_suffix_and_in_the_network(name: str, rules: list[str]):
    classifier = registry.build(name, 3, HeadConfig(), 64 if "vit" not in name else 0)
    freezing = Freezing(classifier.module, classifier.head, "follow")
    freezing.apply(rules)
    found = split(classifier, freezing)
    assert found.kind == ("graph" if rules else "none")
    classifier.module.eval()
    size = classifier.preprocessing.image_size
    images = numbers(2, 3, size, size)
    with torch.no_grad():
        whole = of_whole(classifier, {}, images)
        behind = Suffix(found, classifier)(found.prefix(images))
    trained = {rule.removeprefix("train ") for rule in rules if rule.startswith("train ")} - {"head", "classifier"}
    last_stages = [stage for stage in whole if any(stage.endswith(path.rpartition(".")[2]) for path in trained)]
    assert HEAD_INPUT in behind
    assert len(behind) > len(trained - {"norm", "features.norm5"}) if rules else behind.keys() == whole.keys()
    assert last_stages or not rules
    for stage, output in behind.items():
        torch.testing.assert_close(output, whole[stage], rtol=1e-4, atol=1e-4)


def test_the_original_head_predicts_as_its_network(session: Sessions, config: Callable[..., RunConfig], tmp_path: Path):
    file = make_weights(tmp_path / "weights.pt")
    run = session(config(model={"weights": str(file)}, freeze={"rules": LAST_STAGE}))
    original = registry.architecture(TINY["name"]).build(32).eval()
    original.load_state_dict(torch.load(file, weights_only=True))
    head = run.classifier.original_head
    run.classifier.module.eval()
    images = numbers(6, 3, 32, 32)
    with torch.no_grad():
        given = of_whole(run.classifier, {}, images)[HEAD_INPUT]
        torch.testing.assert_close(given @ head["weight"].T + head["bias"], original(images))


@pytest.fixture
def pretrained(config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., RunConfig]:
    """A config for the tiny network with weights that have an original classifier."""
    weights = str(make_weights(tmp_path / "weights.pt"))
    return lambda **sections: config(
        **{"model": {"weights": weights}, "freeze": {"rules": LAST_STAGE}, "schedule": {"name": "constant"}, **sections}
    )


def test_a_network_that_hardly_trains_forgets_nothing(session: Sessions, pretrained: Callable[..., RunConfig]):
    run = session(pretrained(optimizer=GENTLE, freeze={"rules": LAST_STAGE, "norm_stats": "frozen"}))
    fit(run)
    told = events(run, Forgetting)
    assert [one.epoch for one in told] == [1, 2]
    for one in told:
        assert one.cka == {"layer4": pytest.approx(1.0, abs=1e-5)}
        assert one.agreement == 1.0
        assert one.images == len(run.data.splits["val"])
    assert "forgetting" not in {warning.code for warning in events(run, Warning)}


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Images that have nothing in common but their class."""
    random = np.random.default_rng(0)
    for name in ("one", "other"):
        (tmp_path / "noise" / name).mkdir(parents=True)
        for number in range(32):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
            Image.fromarray(pixels).save(tmp_path / "noise" / name / f"{number:02}.png")
    return tmp_path / "noise"


def test_fast_forgetting_emits_a_warning_with_advice(
    session: Sessions, pretrained: Callable[..., RunConfig], noise: Path
):
    run = session(pretrained(data={"path": str(noise)}, optimizer=ROUGH, freeze={"rules": []}))
    fit(run)
    first = events(run, Forgetting)[0]
    assert min(first.cka.values()) < 0.5
    assert first.agreement < 0.5
    warning = next(one for one in events(run, Warning) if one.code == "forgetting")
    assert warning.message.startswith("epoch 1 took ")
    assert "lower optimizer.backbone_lr_factor (it is 100)" in warning.message


def test_forgetting_is_emitted_for_a_trained_pretrained_backbone_only(
    session: Sessions, pretrained: Callable[..., RunConfig], config: Callable[..., RunConfig]
):
    for wanted in (pretrained(freeze={"rules": ["freeze *", "train head"]}), config(freeze={"rules": LAST_STAGE})):
        run = session(wanted)
        fit(run)
        assert events(run, Forgetting) == []


def test_a_resumed_run_compares_with_the_same_initial_network(session: Sessions, pretrained: Callable[..., RunConfig]):
    wanted = pretrained(optimizer={"lr": 0.01}, train={"epochs": 3})
    whole = session(wanted)
    fit(whole)
    first = session(with_setting(wanted, "train.epochs", 2))
    fit(first)
    past = ReplayedLog.of(EventTail(first.context.folder).poll())
    last = (first.context.folder.checkpoints / "last").resolve()
    log, precision = EventLog(first.context.folder, past.contains), Precision("fp32", torch.device("cpu"))
    torch.manual_seed(wanted.train.seed)
    folder = first.context.folder
    context = RunContext(folder, log, Control(folder), replayed=past)
    again = set_up_session(context, wanted, precision, precision, last)
    fit(again)
    expected = [(one.epoch, one.cka, one.agreement) for one in events(whole, Forgetting)]
    assert [(one.epoch, one.cka, one.agreement) for one in events(again, Forgetting)] == expected
