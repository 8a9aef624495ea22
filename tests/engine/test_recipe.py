"""Recipes: which phase an epoch lies in, what it puts in force, the ready-made ones, and runs in phases."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.freeze_rules import decide
from engine.config.phases import in_force, initial_config, phase_span_at
from engine.config.recipes import READY_MADE, ready_made
from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, load, to_toml, with_setting
from engine.errors import InputError
from engine.models.layer_tree import describe
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import CommandApplied, ParameterCounts, Phase, Step
from engine.runs.state import fold_all
from engine.runs.state import in_force as settings_in_force
from engine.training.loop import fit
from tests.conftest import TINY, Sessions
from tests.ui.networks import network

HEAD = ["freeze *", "train head"]
THREE = [
    {"epochs": 1, "rules": HEAD, "lr": 0.02},
    {"epochs": 2, "rules": ["freeze *", "train layer4", "train head"], "layer_decay": 0.5},
    {"epochs": 1, "rules": ["train *"], "lr": 0.001, "backbone_lr_factor": 1.0},
]


def with_phases(phases: list[dict], **train: int) -> RunConfig:
    return from_tables({"data": {"source": "digits"}, "recipe": {"phases": phases}, "train": train})


def parts(config: RunConfig) -> list[tuple[int, int, int]]:
    found = [phase_span_at(config, done) for done in range(config.train.epochs)]
    return [(part.number, part.first, part.epochs) for part in found]


def test_a_run_lasts_as_long_as_its_phases_unless_it_says_how_long():
    assert with_phases(THREE).train.epochs == 4
    assert with_phases(THREE, epochs=2).train.epochs == 2
    assert from_tables({"data": {"source": "digits"}}).train.epochs == 10


def test_an_epoch_lies_in_the_phase_whose_turn_it_is():
    assert parts(with_phases(THREE)) == [(1, 0, 1), (2, 1, 2), (2, 1, 2), (3, 3, 1)]


def test_fewer_epochs_cut_the_phases_and_more_let_the_last_go_on():
    assert parts(with_phases(THREE, epochs=2)) == [(1, 0, 1), (2, 1, 1)]
    assert parts(with_phases(THREE, epochs=6))[3:] == [(3, 3, 3)] * 3
    assert parts(with_phases([], epochs=2)) == [(0, 0, 2)] * 2


def test_a_phase_leaves_what_it_does_not_say_as_the_run_has_it_outside():
    config = initial_config(with_phases(THREE))
    assert (config.freeze.rules, config.optimizer.lr) == (HEAD, 0.02)
    second = in_force(with_setting(config, "optimizer.lr", 0.5), 2)
    assert (second.optimizer.lr, second.optimizer.layer_decay) == (0.001, 0.5)
    third = in_force(second, 3)
    assert (third.optimizer.layer_decay, third.optimizer.backbone_lr_factor) == (1.0, 1.0)


def test_phases_come_back_from_the_file_they_are_written_to(tmp_path: Path):
    config = with_phases(THREE, epochs=5)
    for comments in (True, False):
        assert from_tables(tomllib.loads(to_toml(config, comments=comments))) == config
    without = tmp_path / "run.toml"
    without.write_text(to_toml(from_tables({"data": {"source": "digits"}})))
    assert load(without, {"recipe.phases": '[{epochs = 3, rules = ["train *"]}]'}).recipe.phases[0].epochs == 3
    with without.open("a") as file:  # a phase can be added by hand
        file.write('\n[[recipe.phases]]\nepochs = 2\nrules = ["train *"]\n')
    assert load(without).recipe.phases[0].lr is None


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        ("3", "recipe.phases = 3 can't be used: it takes tables"),
        ("[3]", "phase 1 of recipe.phases: 3 can't be used: it takes a table"),
        ('[{rules = ["train *"]}]', "phase 1 of recipe.phases: epochs is missing; it takes whole number"),
        ('[{epochs = 0, rules = ["train *"]}]', "epochs = 0 can't be used: it takes whole number, 1 ≤ x"),
        ('[{epochs = 1, rules = ["thaw *"]}]', 'phase 1 of recipe.phases: rule "thaw *" can\'t be read'),
        ('[{epochs = 1, rules = ["train *"], lr = -1}]', "lr = -1 can't be used: it takes number, 0 < x ≤ 100"),
        (
            '[{epochs = 1, rules = ["train *"], learning_rate = 1}]',
            '"learning_rate" is no setting of a phase; did you mean "lr"?',
        ),
        ('[{epochs = 60000, rules = []}, {epochs = 60000, rules = []}]', "train.epochs = 120000 can't be used"),
    ],
)  # fmt: skip
def test_a_phase_that_can_not_be_used_is_refused_by_its_number(phases: str, says: str):
    with pytest.raises(InputError) as caught:
        from_tables({"data": {"source": "digits"}}, {"recipe.phases": phases})
    assert says in str(caught.value)


@pytest.mark.parametrize("name", READY_MADE)
@pytest.mark.parametrize("epochs", [2, 3, 10, 100])
def test_a_ready_made_recipe_fits_the_network_and_the_epochs(name: str, epochs: int):
    model = describe("resnet18", 10, 0, with_phases([]).head)
    phases = with_phases(ready_made(name, model, epochs, 1e-3)).recipe.phases
    assert sum(phase.epochs for phase in phases) == epochs
    trainable = [sum(one.trainable for one in decide(phase.rules, model).values()) for phase in phases]
    assert trainable == sorted(trainable)
    assert all(decision.trainable for decision in decide(phases[-1].rules, model).values())


def test_the_ready_made_recipes_are_those_of_the_papers():
    model = describe("resnet18", 10, 0, with_phases([]).head)
    head, everything = ready_made("lp-ft", model, 10, 1e-3)
    assert head == {"epochs": 5, "rules": HEAD}
    assert everything == {"epochs": 5, "rules": ["train *"], "lr": 1e-4, "backbone_lr_factor": 1.0}
    gradual = ready_made("gradual", model, 10, 1e-3)
    assert [phase["epochs"] for phase in gradual] == [1, 1, 1, 1, 1, 5]
    assert gradual[2]["rules"] == ["freeze *", "train layer3", "train layer4", "train head"]
    few = ready_made("gradual", model, 4, 1e-3)  # two stages at a time
    assert [phase["epochs"] for phase in few] == [1, 1, 2]
    assert few[1]["rules"] == gradual[2]["rules"]
    four = network({name: {"w": [1]} for name in ("a", "b", "c", "d", "fc")}, ["fc"], list("abcd"))
    (rates,) = ready_made("discriminative", four, 10, 1e-3)
    assert rates["backbone_lr_factor"] == rates["layer_decay"] == pytest.approx(1 / 2.6, abs=1e-3)
    with pytest.raises(InputError, match=r"2 epochs or more, and train\.epochs = 1"):
        ready_made("gradual", model, 1, 1e-3)


def test_a_run_goes_through_its_phases(session: Sessions, config: Callable[..., RunConfig]):
    run = session(config(recipe={"phases": THREE}, schedule={"name": "cosine"}, train={"epochs": 5}))
    fit(run)
    events = list(EventTail(run.context.folder).poll())
    told = [event for event in events if isinstance(event, Phase)]
    per_epoch = run.steps_per_epoch
    assert [(one.number, one.phases, one.epoch, one.epochs, one.step) for one in told] == [
        (1, 3, 0, 1, 0),
        (2, 3, 1, 2, per_epoch),
        (3, 3, 3, 2, 3 * per_epoch),
    ]
    assert [one.lr for one in told] == [0.02, 0.01, 0.001]
    assert told[0].parameters.trainable < told[1].parameters.trainable < told[2].parameters.trainable
    assert told[2].parameters.frozen == 0
    rates = {event.step: event.lr for event in events if isinstance(event, Step)}
    first = [rates[one.step + 1] for one in told]  # the schedule begins anew
    assert [lr["head"] for lr in first] == [0.02, 0.01, 0.001]
    assert first[0].keys() == {"head"}
    assert first[1]["layer4"] == pytest.approx(0.001)
    assert first[2] == {"head": 0.001, "backbone": 0.001}
    assert rates[3 * per_epoch]["head"] < 0.002
    state = fold_all(events)
    assert (state.rules, state.parameters) == (["train *"], told[2].parameters)
    now = settings_in_force(run.context.folder.load_config(), state).optimizer
    assert (now.lr, now.backbone_lr_factor, now.layer_decay) == (0.001, 1.0, 1.0)
    assert all(epoch.frozen_unchanged for epoch in state.epochs)


def test_patience_waits_for_the_last_phase(session: Sessions, config: Callable[..., RunConfig]):
    nothing_learned = {"lr": 1e-9, "backbone_lr_factor": 1.0}
    phases = [{"epochs": epochs, "rules": ["freeze *", "train head"], **nothing_learned} for epochs in (4, 50)]
    run = session(config(recipe={"phases": phases}, train={"epochs": 54, "early_stop_patience": 2}))
    assert "stopped early" in fit(run)
    assert run.best is not None
    assert run.epoch == max(run.best.epoch, 4) + 2


def test_a_command_holds_until_the_next_phase_begins():
    def phase(number: int, step: int) -> Phase:
        counts = ParameterCounts(total=2, trainable=1, frozen=1)
        return Phase(
            number=number, phases=2, epochs=1, step=step, epoch=number - 1, rules=HEAD, lr=0.02 / number,
            backbone_lr_factor=0.1, layer_decay=1.0, parameters=counts,
        )  # fmt: skip

    rate = CommandApplied(command=Set(id="rate", key="optimizer.lr", value=0.5), step=3)
    clip = CommandApplied(command=Set(id="clip", key="optimizer.clip_norm", value=0.25), step=4)
    config = with_phases(THREE)
    during = settings_in_force(config, fold_all([phase(1, 0), rate, clip])).optimizer
    assert (during.lr, during.clip_norm) == (0.5, 0.25)
    after = settings_in_force(config, fold_all([phase(1, 0), rate, clip, phase(2, 8)])).optimizer
    assert (after.lr, after.clip_norm) == (0.01, 0.25)


def test_a_plan_of_a_later_phase_that_fits_no_layer_is_refused_at_the_start(
    session: Sessions, config: Callable[..., RunConfig]
):
    phases = [THREE[0], {"epochs": 1, "rules": ["freeze *", "train layer9"]}]
    with pytest.raises(InputError, match=r'phase 2 of recipe.phases: the rule "train layer9" matches no layer'):
        session(config(model=dict(TINY), recipe={"phases": phases}))
