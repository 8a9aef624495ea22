"""Sweeps in storages that several workers share, and what samplers and pruners do there.

Where TLTUI_TEST_STORAGE is the URL of an empty database on a server (any that SQLAlchemy knows, its driver installed),
the slow tests also run there.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.sweep.definition import Sweep, define, read_file
from engine.experiments.sweep.results import results, settings_of, summarize
from engine.experiments.sweep.storage import connect, replace_attribute
from engine.experiments.sweep.study import Study, find_study, open_study
from engine.experiments.sweep.trial import ActiveTrial
from engine.runs.event_log import EventLog
from engine.runs.events import Epoch
from engine.runs.folder import RunFolder, create
from tests.forked_starts.context import forking_context
from tests.tltui.test_command_line import CommandLine
from tests.tltui.test_sweep import LONG, PATIENCE, told, until
from tltui.runs import registry
from tltui.tables.sweep import result_rows
from tltui.tables.trial_columns import ranked
from tltui.text.glyphs import UNICODE

SERVER = os.environ.get("TLTUI_TEST_STORAGE", "")
STORAGES = [
    "",
    pytest.param(SERVER, marks=[pytest.mark.slow, pytest.mark.skipif(not SERVER, reason="no TLTUI_TEST_STORAGE")]),
]
RANGE = '"optimizer.lr" = { low = 1e-6, high = 0.1, log = true }'
WORKERS = 2


@pytest.fixture
def sweep(tmp_path: Path, sweep_file: Callable[..., str], config: Callable[..., RunConfig]) -> Callable[..., Sweep]:
    """A sweep of a config of 9 epochs; keywords are its settings."""

    def make(space: str = RANGE, **settings: object) -> Sweep:
        path = tmp_path / sweep_file(space, **settings)
        return define(path, read_file(path), config(train={"epochs": 9}))

    return make


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shared.db'}"


def rate(study: Study, trial: optuna.Trial) -> float:
    return settings_of(study.sweep, trial.params)["optimizer.lr"]


def work_off(sweep: Sweep, url: str, together: Barrier, taken: Queue[list[int] | str]) -> None:
    """What a worker does to the storage, without any training."""
    together.wait()
    try:
        study, mine = open_study(sweep, url), []
        while trial := study.adopt_orphan() or study.ask():
            mine.append(trial.number)
            study.tell(trial, TrialState.COMPLETE, 0.5)
        taken.put(mine)
    except Exception as error:
        taken.put(repr(error))


@pytest.mark.parametrize("storage", STORAGES)
def test_workers_that_begin_at_the_same_time_try_everything_once(storage: str, url: str, sweep: Callable[..., Sweep]):
    rates = [index / 100 for index in range(1, 13)]
    grid = sweep(f'"optimizer.lr" = {rates}')
    processes = forking_context()
    together, taken = processes.Barrier(WORKERS), processes.Queue()
    workers = [processes.Process(target=work_off, args=(grid, storage or url, together, taken)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    mine = [taken.get(timeout=PATIENCE) for _ in workers]
    for worker in workers:
        worker.join()
    assert not [words for words in mine if isinstance(words, str)]
    study = find_study(storage or url, grid.name)
    assert sorted(trial.number for trial in study.trials) == sorted(number for numbers in mine for number in numbers)
    assert sorted(settings_of(grid, trial.params)["optimizer.lr"] for trial in study.trials) == rates


def test_of_workers_that_take_up_the_same_trial_one_has_it(url: str, sweep: Callable[..., Sweep]):
    trial = open_study(sweep(sampler="random", trials=1), url).ask()
    assert trial is not None
    storage = connect(url)
    trial_id = storage.get_trial_id_from_study_id_trial_number(1, trial.number)
    before = find_study(url, "").trials[0].user_attrs["worker"]
    assert [replace_attribute(storage, trial_id, "worker", before, who) for who in "ab"] == [True, False]
    assert [replace_attribute(storage, trial_id, "new", None, who) for who in "ab"] == [True, False]
    (found,) = find_study(url, "").trials
    assert (found.user_attrs["worker"], found.user_attrs["new"]) == ("a", "a")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_hyperband_ends_bad_trials_early_also_those_of_a_worker_that_joined(
    sampler: str, url: str, sweep: Callable[..., Sweep]
):
    first = open_study(sweep(sampler=sampler, pruner="hyperband", trials=14), url)
    ended_by = set()
    for name, study in itertools.cycle([("first", first), ("joined", find_study(url, ""))]):
        trial = study.ask()
        if trial is None:
            break
        accuracy = 0.5 - abs(rate(study, trial) - 0.03)
        for epoch in range(1, 10):
            trial.report(accuracy, epoch)
            if trial.should_prune():
                ended_by.add(name)
                study.tell(trial, TrialState.PRUNED)
                break
        else:
            study.tell(trial, TrialState.COMPLETE, accuracy)
    assert ended_by == {"first", "joined"}
    assert first.has_result()


def test_a_sweep_by_loss_prefers_the_lowest(
    url: str, tmp_path: Path, sweep_file: Callable[..., str], config: Callable[..., RunConfig]
):
    path = tmp_path / sweep_file(RANGE, sampler="random", trials=3)
    base = config(train={"score": "loss"})
    study = open_study(define(path, read_file(path), base), url)
    for losses in ([0.9, 0.6], [0.4, 0.8], [0.7, 0.5]):
        trial = study.ask()
        assert trial is not None
        active = ActiveTrial(trial, create(tmp_path / "runs", base), {})
        log = EventLog(active.folder)
        for number, loss in enumerate(losses, 1):
            log.write(epoch(number, loss, accuracy=loss))
        log.close(10)
        active.catch_up([])
        if trial.number < 2:
            active.result("completed", 0, "")
            study.tell(trial, TrialState.COMPLETE, active.best and active.best.objective)
    found = results(study)
    assert [one.val_accuracy for one in found.trials] == [0.6, 0.4, 0.5]
    assert [one.trial for one in ranked(found.trials)] == [2, 1, 0], "the running trial stands first"
    assert (found.best and found.best.trial, summarize(study).best) == (1, 0.4)
    assert {bar.best for bar in found.margins[0].bars} <= {0.4, 0.6}
    assert "best: trial 1, val loss 0.400" in result_rows(found, 80, UNICODE)[0][0][0]


def epoch(number: int, loss: float, accuracy: float) -> Epoch:
    return Epoch(
        epoch=number,
        step=number,
        train_loss=loss,
        train_accuracy=accuracy,
        val_loss=loss,
        val_accuracy=accuracy,
        seconds=0.1,
        frozen_digest="",
        frozen_unchanged=True,
        score="loss",
    )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_first_worker_repeats_itself_and_no_other(sampler: str, tmp_path: Path, sweep: Callable[..., Sweep]):
    settings = sweep(sampler=sampler, trials=9)
    tried = []
    for name in ("one", "two"):
        study = open_study(settings, f"sqlite:///{tmp_path / name}.db")
        tried.append([rate(study, trial) for _ in range(3) if (trial := study.ask())])
    assert tried[0] == tried[1]
    joined = [find_study(f"sqlite:///{tmp_path / 'one'}.db", "") for _ in range(2)]
    others = [rate(study, trial) for study in joined for _ in range(3) if (trial := study.ask())]
    assert len({*tried[0], *others}) == 9


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("mssql+pymssql://me:secret@host/sweeps", "the Python module pymssql, is not installed"),
        ("redis://me:secret@host", "does not support this kind of database"),
        ("postgresql://me:se/cret@host:secret/sweeps", "%40, %2F, %3A"),
        ("sweeps.db", "write it like sqlite:///"),
        ("mssql+pymssql://me@host/sweeps?password=secret", "mssql+pymssql://me@host/sweeps: can't be used"),
    ],
)
def test_a_storage_that_can_not_be_used_is_one_sentence_without_a_password(url: str, says: str):
    with pytest.raises(InputError) as refused:
        find_study(url, "")
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


def test_after_its_minutes_no_trial_starts_and_those_under_way_end(tltui: CommandLine, sweep_file: Callable[..., str]):
    first = tltui("sweep", sweep_file(RANGE, sampler="random", trials=40, minutes=0.05, parallel=2), "--json")
    assert first.returncode == 0, first.stderr
    trials = told(first.stdout)[-1]["trials"]
    assert 1 <= len(trials) < 40
    assert {trial["status"] for trial in trials} == {"completed"}


@pytest.mark.slow
def test_a_sweep_resumes_with_a_larger_budget(tltui: CommandLine, sweep_file: Callable[..., str]):
    first = told(tltui("sweep", sweep_file(RANGE, sampler="random", minutes=0.05), "--json").stdout)[-1]
    there = len(first["trials"])
    assert first["wanted"] == 0
    budget = {"trials": there + 1, "minutes": 10}
    started, *_, results = told(tltui("sweep", sweep_file(RANGE, sampler="random", **budget), "--json").stdout)
    assert (started["trials"], started["wanted"]) == (there, there + 1)
    assert [trial["status"] for trial in results["trials"]] == ["completed"] * (there + 1)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_that_hyperband_ends_is_a_run_that_was_stopped(
    sampler: str, tltui: CommandLine, sweep_file: Callable[..., str]
):
    base = {"train": {"epochs": 81}}
    done = tltui("sweep", sweep_file(RANGE, base, sampler=sampler, pruner="hyperband", trials=12), "--json")
    assert done.returncode == 0, done.stderr
    pruned = [trial for trial in told(done.stdout)[-1]["trials"] if trial["status"] == "pruned"]
    assert pruned
    for trial in pruned:
        run = registry.read(RunFolder(Path(trial["run"])), steps=False)
        assert (run.status, bool(run.epochs)) == ("stopped", True)


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_a_worker_that_is_killed_loses_no_trial_and_none_is_done_twice(
    storage: str, url: str, tltui: CommandLine, sweep_file: Callable[..., str]
):
    there = storage or url
    space = RANGE.replace("1e-6", "2e-6")  # another sweep than that of the other tests in the same database
    base = {"train": {"epochs": 30}}
    killed = tltui.start("sweep", sweep_file(space, base, sampler="random", trials=6, storage=there), "--json")
    name = until(killed, "sweep_started")["sweep"]
    until(killed, "trial_epoch")
    joined = tltui.start("sweep", "--join", there, name, "--json", "--runs-dir", str(tltui.folder / "elsewhere"))
    until(joined, "trial_started")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()  # until then its number is taken, and it seems to live
    output, errors = joined.communicate(timeout=PATIENCE)
    assert joined.returncode == 0, errors
    trials: list[dict[str, Any]] = told(output)[-1]["trials"]
    assert [trial["status"] for trial in trials] == ["completed"] * 6
    assert len({trial["settings"]["optimizer.lr"] for trial in trials}) == 6
    made = [*registry.folders(tltui.runs), *registry.folders(tltui.folder / "elsewhere")]
    assert {str(folder.path) for folder in made} == {trial["run"] for trial in trials}


@pytest.mark.slow
def test_a_trial_that_another_worker_has_ended_is_let_go(tltui: CommandLine, url: str, sweep_file: Callable[..., str]):
    base = {"train": {"epochs": LONG}}
    command = tltui.start("sweep", sweep_file(RANGE, base, sampler="random", trials=1, storage=url), "--json")
    until(command, "trial_epoch")
    optuna.load_study(study_name=None, storage=url).tell(0, state=TrialState.FAIL)
    assert "another worker ended it" in until(command, "trial_finished")["result"]["reason"]
    _, errors = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, errors
