"""What makes an epoch the best: the metric of train.score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn import metrics as sklearn_metrics

from engine.config.schema import RunConfig
from engine.config.tasks import SCORES, TASKS
from engine.config.toml_io import from_tables
from engine.errors import InputError
from engine.evaluation.metrics import METRICS
from engine.runs.state import best_epoch
from engine.training import checkpoints
from engine.training.loop import fit
from engine.training.validation import ValidationMetrics
from tests.conftest import Sessions
from tests.engine.made_tables import make_tables, table_config


def test_metrics_of_an_epoch_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 4, generator=generator).round(decimals=1)  # some are equal
    labels = torch.randint(0, 3, (300,), generator=generator)  # the last class does not occur
    validation = ValidationMetrics(4, torch.device("cpu"), with_roc_auc=True)
    for part in (slice(0, 100), slice(100, 300)):
        loss = torch.nn.functional.cross_entropy(logits[part], labels[part])
        validation.add(loss, torch.tensor(float(len(labels[part]))), logits[part], labels[part])
    found = validation.result().metrics
    predicted, probabilities = logits.argmax(1), logits.softmax(1)
    f1 = sklearn_metrics.f1_score(labels, predicted, labels=range(4), average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]
    assert found["macro_f1"] == pytest.approx(f1)
    areas = [sklearn_metrics.roc_auc_score(labels == at, probabilities[:, at]) for at in range(3)]
    assert found["roc_auc"] == pytest.approx(sum(areas) / 3)


@pytest.mark.parametrize("score", ["loss", "macro_f1", "auc"])
def test_the_best_checkpoint_is_the_epoch_with_the_best_score(
    score: str, session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config(train={"score": score, "epochs": 3}, optimizer={"lr": 0.3}))
    fit(run)
    values = [epoch.val_score for epoch in run.epochs]
    assert None not in values
    key = {"loss": lambda e: e.val_loss, "macro_f1": lambda e: -e.val_metrics["macro_f1"]}.get(
        score, lambda e: -e.val_metrics["roc_auc"]
    )
    expected = min(run.epochs, key=lambda epoch: (key(epoch), epoch.val_loss))
    folder = run.context.folder.checkpoints
    assert checkpoints.load_trainer(folder / "best").epoch == expected.epoch
    assert best_epoch(run.epochs) is expected


def test_a_score_that_the_task_lacks_is_refused_with_those_it_has(
    session: Sessions, config: Callable[..., RunConfig], tmp_path: Path
):
    says = 'train.score = "accuracy" is no score of data.task = "multilabel"; set it to average_precision, macro_f1'
    with pytest.raises(InputError, match=says):
        from_tables({"data": {"path": "x", "task": "multilabel"}, "train": {"score": "accuracy"}})
    with pytest.raises(InputError, match=r"it takes auto \| accuracy \| balanced_accuracy"):
        from_tables({"data": {"path": "x"}, "train": {"score": "acuracy"}})
    tables = make_tables(tmp_path)
    with pytest.raises(InputError, match=says):  # the task is known only once the table is read
        session(table_config(tables, "multilabel", data={"task": "auto"}, train={"score": "accuracy"}))


def test_all_scores_have_a_direction_that_agrees_with_the_final_metrics():
    for task in TASKS.values():
        assert {task.score, *task.scores} <= SCORES.keys()
    for name in SCORES.keys() & METRICS.keys():
        assert METRICS[name].higher_is_better == (SCORES[name] == "max"), name
