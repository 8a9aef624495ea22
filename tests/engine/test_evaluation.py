"""Figures are scikit-learn's."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)
from sklearn.metrics import precision_recall_fscore_support as scores

from engine.config.schema import RunConfig
from engine.config.tasks import TaskSpec
from engine.evaluation.accumulator import MetricAccumulator, accuracy_interval
from engine.evaluation.calibration import Calibration
from engine.evaluation.evaluate import evaluate
from engine.evaluation.metrics import compute_metrics
from tests.conftest import Engine


@pytest.mark.parametrize("classes", [2, 5])
def test_streamed_metrics_equal_those_of_all_predictions_at_once(classes: int):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 500)
    labels[labels == classes - 1] = 0  # a class that never occurs
    logits = random.normal(size=(500, classes))
    predicted = logits.argmax(1)
    accumulator = MetricAccumulator([str(label) for label in range(classes)])
    for at in range(0, 500, 64):
        accumulator.add(*(torch.tensor(of[at : at + 64]) for of in (logits, labels, predicted)))
    assert accumulator.correct / accumulator.count == accuracy_score(labels, predicted)
    assert np.array_equal(accumulator.confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    with pytest.warns(UserWarning, match="not in y_true"):
        assert compute_metrics(accumulator)["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(labels, predicted)
        )
    figures = np.array([(row.precision, row.recall, row.f1, row.support) for row in accumulator.per_class]).T
    assert figures == pytest.approx(np.array(scores(labels, predicted, labels=range(classes), zero_division=0.0)))
    probabilities = torch.tensor(logits).softmax(1).numpy()
    assert compute_metrics(accumulator)["log_loss"] == pytest.approx(
        log_loss(labels, probabilities, labels=range(classes))
    )


@pytest.mark.parametrize(("classes", "count", "close"), [(2, 500, 1e-9), (7, 500, 1e-9), (3, 250_000, 2e-4)])
def test_rankings_equal_those_of_all_probabilities_at_once(classes: int, count: int, close: float):
    """``close``: beyond 200,000 images probabilities are counted in bins."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = torch.tensor(logits, dtype=torch.float32).softmax(1).numpy()
    accumulator = MetricAccumulator([str(label) for label in range(classes)])
    for at in range(0, count, 5000):
        batch = torch.tensor(logits[at : at + 5000], dtype=torch.float32)
        accumulator.add(batch, torch.tensor(labels[at : at + 5000]), batch.argmax(1))
    figures = accumulator.per_class
    assert accumulator.scores.exact == (count <= 200_000)
    for label, one in enumerate(figures):
        is_class = labels == label
        assert one.roc_auc == pytest.approx(roc_auc_score(is_class, probabilities[:, label]), abs=close)
        average = average_precision_score(is_class, probabilities[:, label])
        assert one.average_precision == pytest.approx(average, abs=close)
    weighted = f1_score(labels, probabilities.argmax(1), average="weighted")
    assert compute_metrics(accumulator)["weighted_f1"] == pytest.approx(weighted)
    in_top5 = top_k_accuracy_score(labels, probabilities, k=min(5, classes), normalize=False) if classes > 5 else count
    assert accumulator.top5_correct == in_top5


def test_calibration_is_the_gap_between_confidence_and_accuracy():
    random = np.random.default_rng(1)
    probabilities = torch.tensor(3 * random.normal(size=(1000, 4)), dtype=torch.float32).softmax(1).numpy()
    labels = random.integers(0, 4, 1000)
    calibration = Calibration()
    calibration.add(probabilities, labels, probabilities.argmax(1))
    confidence, right = probabilities.max(1).astype(float), probabilities.argmax(1) == labels
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15 + 1e-12)
        gap += abs(right[inside].sum() - confidence[inside].sum()) / 1000
    assert calibration.error == pytest.approx(gap)
    assert sum(one.count for one in calibration.bins) == 1000
    assert [one.confidence for one in calibration.bins] == sorted(one.confidence for one in calibration.bins)


def test_answers_that_are_not_finite_have_no_ranking():
    answers = [(torch.full((2, 3), math.nan), torch.tensor([0, 1]))]
    evaluated = evaluate(TaskSpec("single", ["a", "b", "c"]), "test", answers, ["1", "2"])
    assert evaluated.nonfinite == "nan"
    assert (evaluated.log_loss, evaluated.roc_auc, evaluated.ece) == (None, None, None)


MILLION = """
import resource, sys, torch
from engine.config.tasks import TaskSpec
from engine.evaluation.evaluate import evaluate
from engine.evaluation.predictions import PredictionsFile
from pathlib import Path
count, classes = int(sys.argv[1]), 10
names = [str(label) for label in range(classes)]
def answers():
    random = torch.Generator().manual_seed(0)
    for start in range(0, count, 500):
        labels = torch.randint(classes, (500,), generator=random)
        yield torch.randn(500, classes, generator=random) + torch.nn.functional.one_hot(labels, classes), labels
with PredictionsFile(Path(sys.argv[2]), names) as predictions:
    paths = (f"{i}.png" for i in range(count))
    assert evaluate(TaskSpec("single", names), "test", answers(), paths, predictions).count == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_million_images_take_the_memory_of_ten_thousand(tmp_path: Path):
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", MILLION, count, str(tmp_path / "predictions.csv")]))
        for count in ("10000", "1000000")
    ]
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_the_interval_is_sound_at_the_edges():
    low, high = accuracy_interval(10, 10)
    assert 0.7 < low < high == 1.0
    assert accuracy_interval(80, 100) == pytest.approx((0.7111, 0.8666), abs=1e-3)  # Wilson's own formula by hand


def test_a_run_ends_with_metrics_that_follow_from_its_predictions(engine: Engine, config: Callable[..., RunConfig]):
    folder, state, status = engine.run(config())
    assert status == 0
    assert set(state.evaluations) == {"val", "test"}
    with folder.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = json.loads((folder.evaluation / "test.json").read_text())
    assert len(rows) == test["count"] == 12
    assert test["accuracy"] == np.mean([row["true"] == row["predicted"] for row in rows])
    for row in rows:
        shares = {name: float(row[name]) for name in test["classes"]}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert max(shares, key=lambda name: shares[name]) == row["predicted"]
    assert {row["path"] for row in rows} == paths_of(folder.splits, "test")


def paths_of(splits: Path, name: str) -> set[str]:
    with splits.open(newline="") as file:
        return {row["path"] for row in csv.DictReader(file) if row["split"] == name}
