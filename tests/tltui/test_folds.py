"""Cross-validation: each fold a run, one summary, continued by the same command."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from scipy import stats

from engine.config.schema import RunConfig
from engine.config.toml_io import load, to_toml
from engine.errors import InputError
from engine.evaluation.metrics import METRICS
from engine.experiments.cross_validation import events as cv
from engine.experiments.cross_validation.definition import define
from engine.experiments.cross_validation.summary import mean_of, means
from engine.experiments.cross_validation.worker import cross_validate, prepare
from engine.runs.event_log import EventTail
from engine.runs.events import ModelReady
from engine.runs.folder import RunFolder
from engine.runs.lock import Lock, is_locked
from tests.engine.test_evaluation import paths_of
from tests.tltui.test_command_line import CommandLine
from tests.tltui.test_sweep import until
from tltui.runs import registry
from tltui.runs.run_list import RunList


@pytest.fixture
def folds_file(tmp_path: Path, config: Callable[..., RunConfig]) -> Callable[..., str]:
    def write(**train: object) -> str:
        (tmp_path / "run.toml").write_text(to_toml(config(train={"epochs": 1, **train})))
        return "run.toml"

    return write


def cached_at_start(folder: RunFolder) -> int:
    """The bytes of features that the cache held when a run began to train."""
    return next(event.cached for event in EventTail(folder).poll() if isinstance(event, ModelReady))


def test_each_fold_is_a_run_frozen_layers_run_once_and_the_same_command_trains_none_again(
    tltui: CommandLine, folds_file: Callable[..., str]
):
    settings = load(tltui.folder / folds_file(seed=11))
    facts: list[cv.CrossValidationEvent] = []
    summary = cross_validate(tltui.runs, define(settings, 3), facts.append, lambda: False)
    assert [fold.status for fold in summary.folds] == ["completed"] * 3
    kinds = [type(fact) for fact in facts]
    assert kinds == [cv.CrossValidationStarted, *[cv.FoldStarted, cv.FoldEpoch, cv.FoldFinished] * 3]
    folders = [RunFolder(Path(fold.run)) for fold in summary.folds]
    validated = [paths_of(folder.splits, "val") for folder in folders]
    assert sum(map(len, validated)) == len(set.union(*validated))
    assert len({frozenset(paths_of(folder.splits, "test")) for folder in folders}) == 1
    assert cached_at_start(folders[0]) == 0
    assert cached_at_start(folders[1]) == cached_at_start(folders[2]) > 0
    found = summary.means["test"]["accuracy"]
    assert found.mean == pytest.approx(fmean(fold.metrics["test"]["accuracy"] for fold in summary.folds))
    rows = {(row.cross_validation, row.fold_text) for row in RunList(tltui.runs).refresh()}
    assert rows == {(summary.name, f"fold {number}/3") for number in (1, 2, 3)}

    again = tltui("train", "run.toml", "--folds", "3", "--headless")
    assert again.returncode == 0, again.stderr
    assert all(words in again.stdout for words in (summary.name, "3 completed before", "test accuracy", "Student's t"))
    assert len(registry.folders(tltui.runs)) == 3
    assert "fold 2/3" in tltui("runs").stdout


def test_ctrl_c_keeps_what_is_done_and_the_same_command_continues(tltui: CommandLine, folds_file: Callable[..., str]):
    command = tltui.start("train", folds_file(epochs=100_000), "--folds", "2", "--json")
    until(command, "fold_epoch")
    command.send_signal(signal.SIGINT)
    rest, said = command.communicate(timeout=200)
    assert command.returncode == 130
    assert "0 of 2 folds are completed; the same command continues" in said
    summary = json.loads(rest.splitlines()[-1])
    assert [fold["status"] for fold in summary["folds"]] == ["stopped", "waiting"]
    folder = tltui.only_run()

    detached = tltui("train", "run.toml", "--folds", "2", "--detach")
    assert detached.stdout.strip() == summary["name"]
    wait_for(lambda: is_locked(folder) and registry.read(folder, steps=False).resumed is not None)
    refused = tltui("train", "run.toml", "--folds", "2", "--json")
    assert refused.returncode == 2
    assert f"the folds of {summary['name']} are being trained by process" in refused.stderr
    assert tltui("stop", "last").returncode == 0
    wait_for(lambda: not is_locked(RunFolder(tltui.runs / "folds" / summary["name"])))
    assert tltui.only_run() == folder  # whoever stops a fold stops the folds after it, too


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_bad_input_is_one_sentence_and_leaves_no_run(tmp_path: Path, config: Callable[..., RunConfig]):
    nowhere = config(data={"path": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match="there is no such folder"):
        cross_validate(tmp_path / "runs", define(nowhere, 2), lambda _event: None, lambda: False)
    assert not registry.folders(tmp_path / "runs")
    with pytest.raises(InputError, match="has the splits already; set it to kfold"):
        define(config(data={"split": "mine.csv"}), 2)


def test_a_cross_validation_is_named_after_its_settings_and_trained_once_at_a_time(
    tmp_path: Path, config: Callable[..., RunConfig]
):
    one = define(config(), 3)
    assert one == define(load(prepare(tmp_path, one).config), 3)
    assert one.name == define(config(data={"split": "kfold", "fold": 2}), 3).name
    assert one.name != define(config(), 4).name != define(config(train={"seed": 1}), 4).name
    lock = Lock(prepare(tmp_path, one))
    with pytest.raises(InputError, match=f"the folds of {one.name} are being trained by process"):
        cross_validate(tmp_path, one, lambda _event: None, lambda: False)
    lock.release()


def test_the_interval_is_students_t_over_the_folds():
    values = [0.81, 0.84, 0.79, 0.86, 0.82]
    found = mean_of(values, METRICS["accuracy"].bounds)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 4, fmean(values), stats.sem(values)))
    assert mean_of([0.8], (0.0, 1.0)).interval is None


@pytest.mark.parametrize(
    ("name", "values", "lowest", "highest"),
    [
        ("accuracy", (0.01, 0.9), 0.0, 1.0),
        ("roc_auc", (0.97, 0.999), None, 1.0),
        ("quadratic_kappa", (-0.6, 0.7), -1.0, 1.0),
        ("r2", (-0.5, 0.9), None, 1.0),
        ("log_loss", (0.1, 2.0), 0.0, None),
    ],
)
def test_the_interval_of_a_metric_ends_where_its_values_do(
    name: str, values: tuple[float, float], lowest: float | None, highest: float | None
):
    results = [
        cv.FoldResult(fold, "", "completed", metrics={"val": {name: value}}) for fold, value in enumerate(values, 1)
    ]
    low, high = stats.t.interval(0.95, 1, fmean(values), stats.sem(values))
    expected = (low if lowest is None else lowest, high if highest is None else highest)
    assert means(results)["val"][name].interval == pytest.approx(expected)
