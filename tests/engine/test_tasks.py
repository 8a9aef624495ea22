"""What a network learns to predict: labels are read, trained, evaluated and predicted as their task says."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn import metrics as sklearn_metrics
from torch import nn
from torch.nn import functional

from engine.compute.task import open_criterion
from engine.config.schema import DataConfig, TrainConfig
from engine.config.targets import LabelColumns, LabelError
from engine.config.tasks import TASKS, TaskSpec
from engine.data.label_guess import guess_task
from engine.data.source import Sample
from engine.data.sources import open_source
from engine.errors import InputError
from engine.evaluation.load_run import load_trained_run
from engine.experiments.linear_probe.probe import run_linear_probe
from engine.export.predict import Prediction, find_images, predict
from engine.export.predictor import open_run
from engine.process.run import evaluate_best
from engine.process.worker import run_worker
from engine.runs.command_log import send
from engine.runs.commands import Stop
from engine.runs.event_log import EventTail
from engine.runs.events import Event, Step
from engine.runs.folder import RunFolder, create
from engine.runs.progress import quiet
from engine.runs.state import RunState, fold_all
from engine.tasks.class_column import read_classes
from engine.tasks.label_sets import read_label_sets
from engine.tasks.multilabel import MultiLabel, average_precision, best_thresholds
from engine.tasks.ordinal import Ordinal
from engine.tasks.rank_column import read_ranks
from engine.tasks.regression import Regression
from engine.training.loop import fit
from tests.conftest import Sessions
from tests.engine.made_tables import COLOURS, make_tables, table_config
from tltui.runs.predictions import misclassified_images


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tables(tmp_path_factory.mktemp("tables"))


def trained(session: Sessions, tables: Path, task: str, **sections: dict) -> tuple[RunFolder, RunState]:
    """A run that has trained and is evaluated."""
    run = session(table_config(tables, task, **sections))
    fit(run)
    evaluate_best(run)
    folder = run.context.folder
    run.context.log.sync()
    return folder, fold_all(EventTail(folder).poll())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["cat", "dog", "cat"], "single"),
        (["0", "1", "2", "1"], "single"),
        (["cat;dog", "dog", "cat"], "multilabel"),
        (["clear, water", "clear", "water"], "multilabel"),
        (["0.5", "1.25", "3"], "regression"),
        ([str(number) for number in range(30)], "regression"),
    ],
)
def test_one_column_of_labels_suggests_its_task(cells: list[str], task: str):
    assert guess_task(["label"], [[cell] for cell in cells]).task == task


def test_whole_numbers_are_said_to_be_possible_ranks():
    rows = [[grade] for grade in "0123012"]
    assert "may be ranks" in guess_task(["label"], rows).reason
    assert guess_task(["label"], [["0"], ["1"]]).reason == ""


@pytest.mark.parametrize(
    ("rows", "task"),
    [
        ([["0", "1"], ["1", "1"]], "multilabel"),
        ([["0.3", "0.7"], ["1", "0"]], "single"),
        ([["3.5", "10"], ["1", "2"]], "regression"),
    ],
)
def test_several_columns_of_labels_suggest_their_task(rows: list[list[str]], task: str):
    assert guess_task(["a", "b"], rows).task == task


def read_labels(names: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[str]]:
    targets = read_label_sets(LabelColumns(list(names), rows), DataConfig())
    return targets.classes, [target.text for target in targets.targets]


def test_labels_are_read_from_cells_and_from_columns():
    classes, texts = read_labels(["label"], [["b; a"], ["a"], [""], ["c|d"]])
    assert classes == ["a", "b", "c|d"]
    assert texts == ["a;b", "a", "", "c|d"]
    assert read_labels(["cat", "dog"], [["1", "0"], ["0.0", "1.0"], ["1", "1"]]) == (
        ["cat", "dog"],
        ["cat", "dog", "cat;dog"],
    )


def test_a_column_of_flags_with_another_value_is_refused_with_its_line(tmp_path: Path, tables: Path):
    table = tmp_path / "flags.csv"
    table.write_text(f"path,cat,dog\n{tables}/00.png,1,0\n{tables}/01.png,2,0\n")
    config = DataConfig(source="csv", path=str(table), label_column=["cat", "dog"], task="multilabel")
    with pytest.raises(InputError, match='line 3: the column cat holds "2"'):
        open_source(config)


@pytest.mark.parametrize("column", [["pale", "red"], ["red"]])
def test_a_run_learns_the_probabilities_of_its_classes(column: list[str], session: Sessions, tables: Path):
    data = {"label_column": column, "task": "single"}
    train = {"class_weights": "balanced", "label_smoothing": 0.05, "loss": "focal", "epochs": 5}
    folder, state = trained(session, tables, "single", data=data, train=train)
    classes = column if len(column) > 1 else ["0", "1"]
    assert state.data is not None
    assert (state.data.classes, state.data.soft_labels) == (classes, True)
    (note,) = (warning.message for warning in state.warnings if warning.code == "labels_read")
    assert note.startswith("labels are soft: the column")
    share = {row["path"]: float(row["red"]) for row in rows_of(tables / "single.csv")}
    predicted = rows_of(folder.predictions)
    assert all(row["true"] == classes[share[row["path"]] > 0.5] for row in predicted)
    evaluated = state.evaluations["test"]
    assert sum(map(sum, evaluated.confusion)) == evaluated.count
    probability = torch.tensor([float(row[classes[1]]) for row in predicted])
    true = torch.tensor([share[row["path"]] for row in predicted])
    entropy = functional.binary_cross_entropy(probability, true).item()
    assert evaluated.log_loss == pytest.approx(entropy, rel=1e-3)
    assert spearmanr(probability, true).statistic > 0.5


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([["0.5", "0.5"], ["0.9", "0.3"]], "line 3: the probabilities of the 2 classes sum to 1.2; make them sum to 1"),
        ([["0.5", "0.5"], ["1.5", "-0.5"]], 'line 3: the column dog holds "-0.5"'),
        ([["cat", "dog"], ["dog", "cat"]], 'line 2: the column cat holds "cat"; several columns for one class'),
    ],
)
def test_columns_that_are_no_probabilities_are_refused_with_their_line(
    rows: list[list[str]], reason: str, tmp_path: Path, tables: Path
):
    table = tmp_path / "soft.csv"
    lines = [f"{tables}/{at:02}.png,{','.join(row)}" for at, row in enumerate(rows)]
    table.write_text("\n".join(["path,cat,dog", *lines]))
    config = DataConfig(path=str(table), label_column=["cat", "dog"], task="single")
    with pytest.raises(InputError, match=re.escape(reason)):
        open_source(config)


def test_a_column_of_0_and_1_per_class_names_one_class_per_image():
    targets = read_classes(LabelColumns(["cat", "dog"], [["1", "0"], ["0.0", "1.0"]]), DataConfig())
    assert (targets.classes, [target.label for target in targets.targets]) == (["cat", "dog"], [0, 1])
    assert not any(target.numbers for target in targets.targets)


def test_a_probe_of_several_labels_is_refused(tables: Path):
    with pytest.raises(InputError, match="probes need one class per image"):
        run_linear_probe(table_config(tables, "multilabel"), ["timm/test_resnet"], quiet, lambda *_: None)


def test_average_precision_and_thresholds_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    true = random.random((200, 4)) < [0.5, 0.1, 0.02, 0.9]
    scores = np.round(np.clip(true * 0.3 + random.random((200, 4)) * 0.7, 0, 1), 2)  # with ties
    for at in range(4):
        expected = sklearn_metrics.average_precision_score(true[:, at], scores[:, at])
        assert average_precision(true[:, at], scores[:, at]) == pytest.approx(expected)
    for at, threshold in enumerate(best_thresholds(scores, true)):
        found = sklearn_metrics.f1_score(true[:, at], scores[:, at] >= threshold)
        others = [sklearn_metrics.f1_score(true[:, at], scores[:, at] >= cut) for cut in np.linspace(0, 1, 201)]
        assert found == pytest.approx(max(others))
    assert average_precision(np.zeros(3, bool), np.ones(3)) is None


def test_metrics_of_several_labels_are_those_of_scikit_learn():
    random = torch.Generator().manual_seed(0)
    targets = (torch.rand(100, 3, generator=random) < 0.4).float()
    logits = torch.randn(100, 3, generator=random) + targets
    task = MultiLabel(TaskSpec("multilabel", list("abc")))
    found = task.evaluate("val", [(logits[:60], targets[:60]), (logits[60:], targets[60:])], map(str, range(100)))
    true, scores = targets.numpy(), logits.sigmoid().numpy()
    predicted = scores >= 0.5
    assert found.average_precision == pytest.approx(sklearn_metrics.average_precision_score(true, scores))
    assert found.roc_auc == pytest.approx(sklearn_metrics.roc_auc_score(true, scores))
    assert found.macro_f1 == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="macro"))
    assert found.metrics["micro_f1"] == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="micro"))
    assert found.metrics["exact_match"] == pytest.approx(sklearn_metrics.accuracy_score(true, predicted))
    assert found.cooccurrence[0][1] == int((true[:, 0] * predicted[:, 1]).sum())
    assert found.accuracy is None


def test_a_run_learns_several_labels_and_keeps_its_thresholds(session: Sessions, tables: Path):
    folder, state = trained(session, tables, "multilabel", train={"class_weights": "balanced"})
    assert state.data is not None
    assert (state.data.task, state.data.classes) == ("multilabel", sorted(COLOURS))
    assert any(warning.code == "task_guessed" for warning in state.warnings)
    assert [epoch.score for epoch in state.epochs] == ["average_precision"] * 3
    assert state.epochs[-1].val_score == state.epochs[-1].val_metrics["average_precision"]
    assert state.epochs[-1].val_accuracy is None
    val, test = state.evaluations["val"], state.evaluations["test"]
    thresholds = [of.threshold for of in val.per_class]
    assert [of.threshold for of in test.per_class] == thresholds
    for row in rows_of(folder.predictions):
        named = [name for name, least in zip(val.classes, thresholds, strict=True) if float(row[name]) >= (least or 0)]
        assert row["predicted"] == ";".join(named)
    assert load_trained_run(folder).task.spec.thresholds == thresholds
    network = open_run(folder)
    (answer,) = predict(network, find_images([tables / "00.png"]), quiet)
    assert isinstance(answer, Prediction)
    assert answer.values.keys() == set(COLOURS)
    assert answer.probability is None


def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy():
    random = torch.Generator().manual_seed(0)
    samples = [Sample("", 0, "", target=(float(a), float(b))) for a, b in 50 + 9 * torch.randn(80, 2, generator=random)]
    task = Regression(TaskSpec("regression", ["a", "b"])).fitted(samples)
    targets = task.encode(samples)
    assert targets.mean(0).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert targets.std(0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)
    outputs = (targets + torch.randn(80, 2, generator=random)).round(decimals=1)  # with ties
    found = task.evaluate("val", [(outputs[:50], targets[:50]), (outputs[50:], targets[50:])], map(str, range(80)))
    mean, std = np.array(task.spec.mean), np.array(task.spec.std)
    true, predicted = targets.double().numpy() * std + mean, outputs.double().numpy() * std + mean
    assert found.metrics["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, predicted))
    assert found.metrics["r2"] == pytest.approx(sklearn_metrics.r2_score(true, predicted))
    assert [of.rmse for of in found.numbers] == pytest.approx(
        sklearn_metrics.root_mean_squared_error(true, predicted, multioutput="raw_values")
    )
    assert found.numbers[1].spearman == pytest.approx(spearmanr(true[:, 1], predicted[:, 1])[0])
    assert found.numbers[0].points[0] == (true[0, 0], predicted[0, 0])


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_loss_of_numbers_is_that_of_pytorch(loss: str):
    outputs, targets = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.5], [0.0]])
    of_torch = {"mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss()}[loss]
    criterion = open_criterion(TaskSpec("regression", ["a"], [0.0], [2.0]), TrainConfig(loss=loss), targets, 0.0)
    assert criterion(outputs, targets) == of_torch(outputs, targets)
    assert criterion.correct(outputs, targets) == 2 * 3.5


def test_a_run_learns_numbers_in_their_units(session: Sessions, tables: Path):
    folder, state = trained(session, tables, "regression", train={"loss": "huber", "epochs": 2})
    assert state.data is not None
    assert (state.data.task, state.data.classes) == ("regression", ["brightness", "level"])
    assert [epoch.score for epoch in state.epochs] == ["r2"] * 2
    assert state.epochs[-1].train_metric("mae")
    rows, test = rows_of(folder.predictions), state.evaluations["test"]
    true, predicted = (
        [[float(one) for one in row[column].split(";")] for row in rows] for column in ("true", "predicted")
    )
    assert test.metrics["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, predicted), rel=1e-4)
    written = {row["path"]: float(row["brightness"]) for row in rows_of(tables / "regression.csv")}
    assert [one[0] for one in true] == pytest.approx([written[row["path"]] for row in rows], rel=1e-4)
    assert [float(row["level"]) for row in rows] == pytest.approx([one[1] for one in predicted], abs=1e-5)
    errors = {row["path"]: abs(one[1] - two[1]) for row, one, two in zip(rows, true, predicted, strict=True)}
    worst = [
        one for one in misclassified_images(folder.predictions, test.classes, "regression") if one.label == "level"
    ]
    assert [errors[one.path] for one in worst] == sorted((errors[one.path] for one in worst), reverse=True)
    (answer,) = predict(open_run(folder), find_images([tables / rows[0]["path"]]), quiet)
    assert isinstance(answer, Prediction)
    assert list(answer.values.values()) == pytest.approx(predicted[0], rel=1e-3)


def test_a_cell_that_is_no_number_is_refused_with_its_line(tmp_path: Path, tables: Path):
    table = tmp_path / "numbers.csv"
    table.write_text(f"path,label\n{tables}/00.png,1.5\n{tables}/01.png,many\n{tables}/02.png,2\n")
    config = DataConfig(source="csv", path=str(table), task="regression")
    with pytest.raises(InputError, match='line 3: the column label holds "many", which is no number'):
        open_source(config)


def test_settings_of_another_task_are_refused(session: Sessions, tables: Path):
    refused = r'train\.class_weights means nothing for data\.task = "regression"; set train\.class_weights = "none"'
    with pytest.raises(InputError, match=refused):
        session(table_config(tables, "regression", train={"class_weights": "balanced"}))
    with pytest.raises(InputError, match=refused):
        table_config(tables, "regression", data={"task": "regression"}, train={"class_weights": "balanced"})


def test_the_loss_of_ranks_asks_each_question_of_the_images_it_concerns():
    logits, ranks = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 0, 1])
    criterion = open_criterion(TaskSpec("ordinal", list("abc")), TrainConfig(), ranks, 0.0)
    conditional = logits.sigmoid()
    above_0 = [(conditional[at, 0], rank > 0) for at, rank in enumerate(ranks)]
    above_1 = [(conditional[at, 1], rank > 1) for at, rank in enumerate(ranks) if rank > 0]
    losses = [-(p if is_above else 1 - p).log() for p, is_above in above_0 + above_1]
    assert criterion(logits, ranks).item() == pytest.approx(float(sum(losses)) / len(losses))
    parts = [(criterion(logits[part], ranks[part]) * criterion.weight(ranks[part])) for part in (slice(2), slice(2, 6))]
    assert (sum(parts) / criterion.weight(ranks)).item() == pytest.approx(criterion(logits, ranks).item())


def test_metrics_of_ranks_are_those_of_scikit_learn():
    random = torch.Generator().manual_seed(0)
    ranks = torch.randint(0, 4, (90,), generator=random)
    outputs = torch.randn(90, 3, generator=random) + 2 * (ranks[:, None] > torch.arange(3))
    task = Ordinal(TaskSpec("ordinal", ["0", "1", "2", "3"]))
    probabilities = task.export.layer(outputs)
    above = outputs.sigmoid().cumprod(1)
    assert (1 - probabilities.cumsum(1))[:, :-1].flatten().tolist() == pytest.approx(above.flatten().tolist(), abs=1e-6)
    predicted = (above > 0.5).sum(1)
    found = task.evaluate("val", [(outputs[:50], ranks[:50]), (outputs[50:], ranks[50:])], map(str, range(90)))
    assert found.metrics["quadratic_kappa"] == pytest.approx(
        sklearn_metrics.cohen_kappa_score(ranks, predicted, weights="quadratic")
    )
    assert found.metrics["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(ranks, predicted))
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(ranks, predicted))
    assert np.array_equal(found.confusion, sklearn_metrics.confusion_matrix(ranks, predicted))
    validation = task.validation(torch.device("cpu"), "")
    validation.add(torch.tensor(1.0), torch.tensor(90.0), outputs, ranks)
    assert validation.result().metrics["quadratic_kappa"] == found.metrics["quadratic_kappa"]


@pytest.mark.parametrize(
    ("cells", "order", "expected"),
    [
        (["10", "9", "9.5"], [], ["9", "9.5", "10"]),
        (["1 mild", "0 none", "2 severe"], [], ["0 none", "1 mild", "2 severe"]),
        (["high", "low"], ["low", "mid", "high"], ["low", "mid", "high"]),
    ],
)
def test_ranks_have_the_order_of_their_numbers_or_of_the_setting(
    cells: list[str], order: list[str], expected: list[str]
):
    targets = read_ranks(LabelColumns(["label"], [[cell] for cell in cells]), DataConfig(classes=order))
    assert targets.classes == expected
    assert [expected[target.label] for target in targets.targets] == cells


def test_ranks_without_an_order_are_refused():
    columns = LabelColumns(["label"], [["low"], ["high"]])
    with pytest.raises(LabelError, match="order of the classes high, low; set data"):
        read_ranks(columns, DataConfig())
    with pytest.raises(LabelError, match=r'"high" is not in data\.classes'):
        read_ranks(columns, DataConfig(classes=["low"]))


def test_a_run_learns_ranks(session: Sessions, tables: Path):
    data, train = {"task": "ordinal"}, {"class_weights": "balanced", "epochs": 2}
    folder, state = trained(session, tables, "ordinal", data=data, train=train)
    assert [epoch.score for epoch in state.epochs] == ["quadratic_kappa"] * 2
    assert state.epochs[-1].val_accuracy is not None
    assert state.evaluations["test"].classes == ["0", "1", "2"]
    rows = rows_of(folder.predictions)
    for row in rows:
        shares = [float(row[name]) for name in "012"]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert int(row["predicted"]) == sum(share < 0.5 for share in np.cumsum(shares)[:-1])
    (answer,) = predict(open_run(folder), find_images([tables / rows[0]["path"]]), quiet)
    assert isinstance(answer, Prediction)
    assert answer.label == rows[0]["predicted"]
    assert answer.probability == pytest.approx(float(rows[0][answer.label]), abs=1e-4)


@pytest.mark.usefixtures("session")  # restores the signal handlers
@pytest.mark.parametrize("task", list(TASKS))
def test_a_run_of_each_task_that_is_stopped_halfway_ends_with_the_same_bits(task: str, tables: Path, tmp_path: Path):
    config = table_config(tables, task, data={"task": task}, train={"epochs": 2})

    def outcome(name: str, stop_at: int) -> tuple[bytes, bytes, list[int]]:
        folder = create(tmp_path / name, config)

        def stop(event: Event) -> None:
            if isinstance(event, Step) and event.step == stop_at:
                send(folder, Stop(id="stop"))

        codes = [run_worker(folder, show=stop)]
        if codes == [130]:
            codes.append(run_worker(folder))
        weights = folder.checkpoints / "last" / "model.safetensors"
        return weights.read_bytes(), folder.predictions.read_bytes(), codes

    *expected, codes = outcome("whole", stop_at=0)
    assert codes == [0]
    *resumed, codes = outcome("stopped", stop_at=3)
    assert codes == [130, 0]
    assert resumed == expected
