"""Figures are scikit-learn's."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss
from sklearn.metrics import precision_recall_fscore_support as scores

from engine.config import RunConfig
from engine.evaluation.metrics import Tally, accuracy_interval, balanced_accuracy, per_class
from tests.conftest import Engine


@pytest.mark.parametrize("classes", [2, 5])
def test_streamed_figures_equal_those_of_all_predictions_at_once(classes: int):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 500)
    labels[labels == classes - 1] = 0  # a class that never occurs
    logits = random.normal(size=(500, classes))
    predicted = logits.argmax(1)
    tally = Tally(classes)
    for at in range(0, 500, 64):
        tally.add(torch.tensor(logits[at : at + 64]), torch.tensor(labels[at : at + 64]))
    assert tally.correct / tally.count == accuracy_score(labels, predicted)
    assert np.array_equal(tally.confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    with pytest.warns(UserWarning, match="not in y_true"):
        assert balanced_accuracy(tally) == pytest.approx(balanced_accuracy_score(labels, predicted))
    names = [str(label) for label in range(classes)]
    figures = np.array([(row.precision, row.recall, row.f1, row.support) for row in per_class(tally, names)]).T
    assert figures == pytest.approx(np.array(scores(labels, predicted, labels=range(classes), zero_division=0.0)))
    probabilities = torch.tensor(logits).softmax(1).numpy()
    assert tally.loss / tally.count == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))


def test_the_interval_is_sound_at_the_edges():
    low, high = accuracy_interval(10, 10)
    assert 0.7 < low < high == 1.0
    assert accuracy_interval(80, 100) == pytest.approx((0.7111, 0.8666), abs=1e-3)  # Wilson's own formula by hand


def test_a_run_ends_with_figures_that_its_predictions_bear_out(engine: Engine, config: Callable[..., RunConfig]):
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
