"""Samplers and pruners by name: a grid in pieces, and names that are not known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import optuna
import pytest

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.sweep.definition import Sweep, define, read_file
from engine.experiments.sweep.search_space import Choices, Dimension, Range, grid_size, shuffled_grid
from engine.experiments.sweep.study import all_studies, find_study, open_study

Make = Callable[..., Sweep]


@pytest.fixture
def sweep(tmp_path: Path, sweep_file: Callable[..., str], config: Callable[..., RunConfig]) -> Make:
    def make(**settings: object) -> Sweep:
        path = tmp_path / sweep_file('"optimizer.lr" = [0.1, 0.2]', **settings)
        return define(path, read_file(path), config())

    return make


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_a_grid_has_every_combination_once_in_an_order_that_stays():
    choices = [
        Choices(("optimizer.lr",), ((0.1,), (0.2,), (0.3,))),
        Choices(("optimizer.name", "optimizer.momentum"), (("sgd", 0.9), ("adam", 0.8))),
        Choices(("train.epochs",), ((1,), (2,))),
    ]
    space: list[Dimension] = [*choices]
    found = [tuple(one.items()) for one in shuffled_grid(space)]
    listed = [
        tuple(zip((one.name for one in choices), labels, strict=True))
        for labels in itertools.product(*(one.labels for one in choices))
    ]
    random.Random(0).shuffle(listed)  # the order of sweeps that began with an earlier version
    assert found == listed
    assert grid_size(space) == len(set(found)) == 12


def test_a_grid_of_a_range_is_refused():
    with pytest.raises(InputError, match="is a range"):
        grid_size([Range("optimizer.lr", 0.1, 0.2)])


@pytest.mark.parametrize(("what", "known"), [("sampler", "grid, random, tpe"), ("pruner", "none, median, hyperband")])
def test_a_sampler_or_pruner_that_is_not_known_is_refused_and_leaves_no_study(
    what: str, known: str, url: str, sweep: Make
):
    strange = msgspec.structs.replace(sweep(), **{what: "cmaes"})
    with pytest.raises(InputError, match=f'unknown {what} "cmaes"; choose from {known}'):
        open_study(strange, url)
    assert optuna.get_all_study_names(url) == []


@pytest.mark.parametrize("what", ["sampler", "pruner"])
def test_a_sweep_of_another_version_is_listed_and_not_worked_on(what: str, url: str, sweep: Make):
    known = sweep()
    open_study(known, url)
    study = optuna.load_study(study_name=known.name, storage=url)
    other = msgspec.structs.replace(known, **{what: "cmaes"})
    study.set_user_attr("tltui", msgspec.json.encode(other).decode())
    assert [one.sweep.name for one in all_studies(url)] == [known.name]
    with pytest.raises(InputError, match=f'unknown {what} "cmaes"; choose from '):
        find_study(url, known.name)


@pytest.mark.parametrize(
    ("what", "known"), [("sampler", "grid | random | tpe"), ("pruner", "none | median | hyperband")]
)
def test_a_file_that_names_another_is_one_sentence_with_those_that_are_known(what: str, known: str, sweep: Make):
    with pytest.raises(InputError) as refused:
        sweep(**{what: "cmaes"})
    assert known in str(refused.value)
