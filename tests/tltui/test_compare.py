"""``tltui compare``, as a real process, and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from scipy.stats import binomtest, wilcoxon

from engine.config.schema import RunConfig
from engine.config.toml_io import to_toml
from tests.compared_runs import write_runs
from tests.tltui.test_command_line import CommandLine
from tltui.compare.columns import setting_columns
from tltui.compare.paired_tests import Reference, holm, mcnemar, number_error, rank_error, read_predictions, signed_rank
from tltui.compare.reader import ComparisonReader
from tltui.compare.text_page import Layout, page
from tltui.text.glyphs import ASCII, UNICODE, Glyphs


@pytest.fixture
def tltui(tmp_path: Path) -> CommandLine:
    """With two runs on the same images, which are completed."""
    command = CommandLine(tmp_path)
    write_runs(command.runs, 2)
    return command


def rows(tltui: CommandLine) -> list[dict[str, str]]:
    return json.loads(tltui("runs", "--json").stdout)


def runs(tltui: CommandLine) -> list[str]:
    return [row["run"] for row in rows(tltui)]


def test_runs_are_compared_by_what_differs_and_by_what_came_of_it(tmp_path: Path, config: Callable[..., RunConfig]):
    tltui = CommandLine(tmp_path)
    for rate in (0.01, 1e-5):
        (tmp_path / "run.toml").write_text(to_toml(config(optimizer={"lr": rate})))
        assert tltui("train", "run.toml").returncode == 0
    first, second = runs(tltui)
    done = tltui("compare", first, second, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [run["run"] for run in found["runs"]] == [first, second]
    assert [setting["key"] for setting in found["differing"]] == ["optimizer.lr"]
    (test,) = found["mcnemar"]["tests"]
    right = [predictions(Path(row["path"])) for row in rows(tltui)]
    only_first = sum(a and not b for a, b in zip(*right, strict=True))
    only_second = sum(b and not a for a, b in zip(*right, strict=True))
    assert sorted((test["only_this"], test["only_best"])) == sorted((only_first, only_second))
    text = tltui("compare", first, second)
    assert text.returncode == 0
    assert all(word in text.stdout for word in (first[:4], second[:4], " lr", "McNemar"))


def predictions(folder: Path) -> list[bool]:
    """For each image of a run whether its answer was right."""
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    return [row[1] == row[2] for row in rows]


def test_runs_that_lack_something_are_compared_as_far_as_they_go(tltui: CommandLine):
    first, second = runs(tltui)
    without, with_garbage = (Path(row["path"]) for row in rows(tltui))
    (without / "predictions.csv").unlink()
    with (with_garbage / "predictions.csv").open("ab") as file:
        file.write(b"\x1b[31m\xff,a,b\n")
    done = tltui("compare", first, second)
    assert done.returncode == 0, done.stderr
    assert "\x1b[31m" not in done.stdout


def test_one_run_alone_is_refused(tltui: CommandLine):
    refused = tltui("compare", "last", runs(tltui)[0])
    assert (refused.returncode, "at least two different runs" in refused.stderr) == (2, True)


@pytest.mark.parametrize(("this", "other"), [(5, 12), (0, 3), (0, 0), (40, 40)])
def test_the_test_is_the_exact_one(this: int, other: int):
    expected = binomtest(this, this + other).pvalue if this + other else 1.0
    assert mcnemar(this, other) == pytest.approx(expected)


def test_many_tests_are_corrected():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("count", [2, 6, 7, 50])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(("glyphs", "marker"), [(UNICODE, "braille"), (ASCII, "ascii")])
def test_few_and_many_runs_fit_a_narrow_and_a_wide_terminal(
    count: int, width: int, glyphs: Glyphs, marker: str, tmp_path: Path
):
    comparison = ComparisonReader(write_runs(tmp_path, count)).read()
    rows = ["".join(text for text, _ in row) for row in page(comparison, Layout(width, 14, glyphs, marker))]
    assert max(map(cell_len, rows)) <= width
    table = rows[rows.index("Runs, best validation score first") + 1 :]
    assert [line.split()[1] for line in table[1 : count + 1]] == [
        comparison.runs[number - 1].run[:4] for number in comparison.order
    ]
    if marker == "ascii":
        assert "\n".join(rows).isascii()


def test_the_most_telling_setting_comes_first(tmp_path: Path):
    comparison = ComparisonReader(write_runs(tmp_path, 20)).read()
    assert [one.key for one in comparison.differing] == ["optimizer.lr", "train.seed"]
    rate, seed = (one.explains for one in comparison.differing)
    assert rate is not None
    assert seed is not None
    assert rate > 0.9
    assert seed < 0.3


def test_few_runs_get_no_explained_variance(tmp_path: Path):
    assert all(one.explains is None for one in ComparisonReader(write_runs(tmp_path, 3)).read().differing)


def test_a_second_look_reads_only_what_is_new(tmp_path: Path):
    folders = write_runs(tmp_path, 3)
    comparing = ComparisonReader(folders)
    first = comparing.read()
    assert comparing.read() is first
    folders[0].predictions.unlink()
    again = comparing.read()
    assert again is not first
    assert [one.run for one in again.mcnemar.untested] == [1]


def test_lists_are_shown_by_what_is_not_in_all_of_them(tmp_path: Path):
    folders = write_runs(tmp_path, 2)
    for folder, rules in zip(folders, (["freeze *", "train head"], ["freeze *", "train a", "train head"]), strict=True):
        folder.config.write_text(
            to_toml(RunConfig.model_validate({"data": {"source": "digits"}, "freeze": {"rules": rules}}))
        )
    columns = setting_columns(ComparisonReader(folders).read(), UNICODE)
    (rules,) = (column for column in columns if column.key == "freeze.rules")
    assert rules.texts == ("…", "…, train a, …")


@pytest.mark.parametrize("kind", ["numbers", "ranks"])
def test_runs_with_sized_errors_are_compared_by_their_ranks(kind: str, tmp_path: Path):
    random = np.random.default_rng(0)
    true = random.integers(0, 5, 60)
    good, bad = (np.clip(true + random.integers(-size, size + 1, 60), 0, 4) for size in (1, 3))
    error_of = rank_error([str(at) for at in range(5)]) if kind == "ranks" else number_error([2.0])
    for name, predicted in (("good", good), ("bad", bad)):
        rows = [f"{at}.png,{one},{two}" for at, (one, two) in enumerate(zip(true, predicted, strict=True))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,true,predicted", *rows]))
    reference = Reference(read_predictions(tmp_path / "good.csv", error_of), error_of)
    found = reference.differences(read_predictions(tmp_path / "bad.csv", error_of))
    expected = np.abs(bad - true) - np.abs(good - true)
    assert (found.only_this, found.only_other) == ((expected < 0).sum(), (expected > 0).sum())
    assert signed_rank(found.values) == pytest.approx(wilcoxon(expected)[1])
    assert signed_rank([0.0, 0.0]) == 1.0
