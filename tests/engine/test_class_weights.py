"""Class-weighted losses: means over a dataset, whatever the batches, the ranks and the interruptions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from engine.compute.loss import balanced_weights
from engine.config.schema import RunConfig
from engine.runs.commands import Stop
from engine.runs.event_log import EventTail
from engine.runs.events import Epoch
from engine.runs.folder import RunFolder, create
from engine.training import checkpoints
from engine.training.loop import build_criterion, fit, validate
from engine.training.session import Session
from tests.conftest import Sessions, make_images
from tests.engine.ranks import Together
from tests.faults.lives import Life, Script

# Weights that hardly move: then each batch of an epoch sees the same network.
STILL = {
    "freeze": {"rules": ["freeze *", "train head"]},
    "head": {"dropout": 0.0},
    "optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0, "weight_decay": 0.0},
}


@pytest.fixture
def imbalanced(tmp_path: Path) -> str:
    """A class of 36 images, and one of 4."""
    make_images(tmp_path / "images", 36, names=("red",))
    return str(make_images(tmp_path / "images", 4, names=("blue",)))


@pytest.fixture
def weighted(config: Callable[..., RunConfig], imbalanced: str) -> Callable[..., RunConfig]:
    def make(**train: object) -> RunConfig:
        settings = {"epochs": 1, "class_weights": "balanced", **train}
        return config(**STILL, data={"path": imbalanced, "workers": 0}, train=settings)

    return make


def loss_of(run: Session, split: str, label_smoothing: float = 0.0) -> float:
    """PyTorch's weighted mean over a split in one piece."""
    logits, labels = map(torch.cat, zip(*run.predict_logits(split, "evaluate"), strict=True))
    weights = balanced_weights(run.data.class_counts("train"))
    return functional.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing).item()


def last_epoch(folder: RunFolder) -> Epoch:
    return [event for event in EventTail(folder).poll() if isinstance(event, Epoch)][-1]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_losses_of_an_epoch_depend_on_neither_batch_size_nor_order(
    label_smoothing: float, session: Sessions, weighted: Callable[..., RunConfig]
):
    for size in (1, 3, 8, 64):
        run = session(weighted(batch_size=size, label_smoothing=label_smoothing))
        expected = {split: loss_of(run, split, label_smoothing) for split in ("train", "val")}
        order: Sequence[int] = run.data.splits["val"]
        for members in (sorted(order), sorted(order, key=lambda at: run.data.labels[at]), order[::-1]):
            run.data.splits["val"] = list(members)
            found = validate(run, build_criterion(run))
            assert found.loss == pytest.approx(expected["val"], rel=1e-5), size
        fit(run)
        epoch = last_epoch(run.context.folder)
        assert epoch.val_loss == pytest.approx(expected["val"], rel=1e-5), size
        assert epoch.train_loss == pytest.approx(expected["train"], rel=1e-5), size


def test_two_ranks_report_the_losses_of_one(tmp_path: Path, session: Sessions, weighted: Callable[..., RunConfig]):
    run = session(weighted(batch_size=64))
    expected = {split: loss_of(run, split) for split in ("train", "val")}
    folder = create(tmp_path / "runs", weighted(batch_size=3))
    assert Together(folder).wait() == [0, 0], folder.log.read_text()
    epoch = last_epoch(folder)
    assert epoch.train_loss == pytest.approx(expected["train"], rel=1e-5)
    assert epoch.val_loss == pytest.approx(expected["val"], rel=1e-5)


def stopped_halfway(folder: RunFolder) -> Path:
    """The checkpoint of a run that is stopped in the middle of its first epoch."""
    script: Script = [(4, Stop(id="stop"))]
    assert Life(folder, script).wait() == 130
    return folder.checkpoints / "last"


def test_a_run_resumed_within_an_epoch_reports_the_loss_of_all_of_it(
    tmp_path: Path, session: Sessions, weighted: Callable[..., RunConfig]
):
    expected = loss_of(session(weighted(batch_size=64)), "train")
    folder = create(tmp_path / "runs", weighted(batch_size=3))
    totals = checkpoints.load_trainer(stopped_halfway(folder)).totals
    assert totals.done == 4
    assert totals.weight != totals.count
    assert Life(folder, []).wait() == 0
    assert last_epoch(folder).train_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_checkpoint_of_version_0_1_0_resumes_with_the_weights_that_it_has(
    class_weights: str, tmp_path: Path, session: Sessions, weighted: Callable[..., RunConfig]
):
    folder = create(tmp_path / "runs", weighted(batch_size=3, class_weights=class_weights))
    checkpoint = stopped_halfway(folder)
    trainer = json.loads((checkpoint / "trainer.json").read_text())
    del trainer["totals"]["weight"]
    content = json.dumps(trainer).encode()
    (checkpoint / "trainer.json").write_bytes(content)
    sums = (checkpoint / "SHA256SUMS").read_text().splitlines()
    kept = [line for line in sums if not line.endswith("trainer.json")]
    digest = hashlib.sha256(content).hexdigest()
    (checkpoint / "SHA256SUMS").write_text("\n".join([*kept, f"{digest}  trainer.json", ""]))
    totals = checkpoints.load_trainer(checkpoint).totals
    assert totals.weight == totals.count == 12
    assert Life(folder, []).wait() == 0
    epoch = last_epoch(folder)
    assert epoch.train_loss
    if class_weights == "none":
        run = session(weighted(batch_size=64))
        logits, labels = map(torch.cat, zip(*run.predict_logits("train", "evaluate"), strict=True))
        assert epoch.train_loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
