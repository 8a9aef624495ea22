"""Editing a freeze plan."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import network, resnet18

from engine.config.freeze_rules import RuleMatcher, parse_rules
from engine.config.layer_tree import LayerTree
from engine.errors import InputError
from tltui.freeze_plan.editor import PlanEditor

HEAD_ONLY = ["freeze *", "train head"]


def editor(rules: list[str] = HEAD_ONLY) -> PlanEditor:
    return PlanEditor(resnet18(), rules)


def trained(of: PlanEditor) -> set[str]:
    """The parameters that train, as the engine decides it from the rules."""
    net = of.network
    decisions = RuleMatcher.of(of.tree).decide(of.rules)
    return {name for name in net.parameters if decisions[name].trainable}


def test_presets_are_written_as_one_would_write_them():
    plan = editor()
    plan.last_stages(1)
    assert plan.rules == ["freeze *", "train layer4", "train head"]
    plan.last_stages(2)
    assert plan.rules == ["freeze *", "train layer3", "train layer4", "train head"]
    plan.all()
    assert plan.rules == ["train *"]
    plan.head_only()
    assert plan.rules == HEAD_ONLY


def test_toggling_something_off_and_on_gives_the_same_words_again():
    plan = editor(["freeze *", "train layer4", "train head"])
    plan.toggle("fc")
    assert plan.rules == ["freeze *", "train layer4"]
    plan.toggle("fc")
    assert plan.rules == ["freeze *", "train layer4", "train head"]


def test_a_layer_inside_a_trained_stage_becomes_one_more_rule():
    plan = editor(["freeze *", "train layer4", "train head"])
    plan.toggle("layer4.0")
    assert plan.rules == ["freeze *", "train layer4.1", "train head"]
    assert (plan.state("layer4"), plan.state("layer4.0"), plan.state("layer4.1")) == ("mixed", "frozen", "trainable")


def test_toggling_a_layer_of_which_a_part_trains_trains_all_of_it():
    plan = editor(["freeze *", "train layer4.1", "train head"])
    plan.toggle("layer4")
    assert plan.state("layer4") == "trainable"


def test_norms_or_biases_train_and_a_layer_of_which_a_part_trains_is_marked():
    plan = editor()
    plan.norms()
    assert plan.rules == ["freeze *", "train norms", "train head"]
    assert {plan.state("bn1"), plan.state("layer4.0.bn2"), plan.state("fc")} == {"trainable"}
    assert plan.state("layer4.0.conv1") == "frozen"
    assert plan.counts.trainable == 9600 + 5130
    plan.biases()
    assert plan.rules == ["freeze *", "train *.bias", "train head"]
    assert trained(plan) == {name for name in plan.network.parameters if name.endswith("bias") or name == "fc.weight"}
    assert plan.state("bn1") == plan.state("layer4") == "mixed"
    assert plan.counts.trainable == 4800 + 5130
    plan.toggle("layer4.1.bn2")
    assert plan.rules == ["freeze *", "train *.bias", "train head", "train layer4.1.bn2"]
    plan.undo()
    plan.undo()
    assert plan.rules == ["freeze *", "train norms", "train head"]


def test_patterns_written_by_hand_survive_an_edit():
    plan = editor(["freeze *", "train *.bn?", "train head"])
    plan.toggle("layer4")
    assert plan.rules == ["freeze *", "train *.bn?", "train head", "train layer4"]


def test_up_to_here_freezes_what_runs_before_and_nothing_else():
    plan = editor(["train *"])
    plan.up_to_here("layer2")
    assert plan.rules == ["freeze conv1", "freeze bn1", "freeze layer1"]
    plan.up_to_here("fc")
    assert plan.rules == HEAD_ONLY
    plan.up_to_here("layer2")
    assert plan.rules == HEAD_ONLY


def test_up_to_here_goes_by_the_order_of_running_and_spares_the_head():
    model = network(
        {"aux": {"weight": [2, 2]}, "late": {"weight": [2]}, "early": {"weight": [2]}, "fc": {"weight": [2]}},
        ["fc", "aux"],
    )
    for layer in model.layers:
        layer.order = {"": 0, "early": 1, "late": 2, "fc": 3, "aux": None}[layer.path]
    plan = PlanEditor(model, ["train *"])
    plan.up_to_here("late")
    assert trained(plan) == {"late.weight", "fc.weight", "aux.weight"}


def test_the_word_head_is_never_used_for_a_layer_that_merely_has_this_name():
    model = network({"stem": {"w": [9]}, "head": {"norm": {"w": [3]}, "fc": {"w": [7]}}}, ["head.fc"])
    plan = PlanEditor(model, ["freeze *", "train head"])
    assert trained(plan) == {"head.fc.w"}
    plan.toggle("head")
    assert plan.state("head") == "trainable"
    assert plan.rules == ["freeze stem"]
    plan.toggle("head.fc")
    assert trained(plan) == {"head.norm.w"}


def test_names_that_look_like_patterns_are_taken_literally():
    plan = PlanEditor(network({"a[1]": {"w": [2]}, "a1": {"w": [2]}, "fc": {"w": [2]}}, ["fc"]), HEAD_ONLY)
    plan.toggle("a[1]")
    assert trained(plan) == {"a[1].w", "fc.w"}


def test_a_plan_that_trains_nothing_is_refused_and_changes_nothing():
    plan = editor()
    with pytest.raises(InputError, match="would freeze every layer"):
        plan.toggle("fc")
    assert plan.rules == HEAD_ONLY
    assert not plan.can_undo


@pytest.mark.parametrize("path", ["relu", "maxpool", "layer1.0.relu"])
def test_a_layer_without_parameters_can_not_be_toggled(path: str):
    plan = editor()
    assert plan.state(path) == "none"
    with pytest.raises(InputError, match=f"{path} has no parameters"):
        plan.toggle(path)


def test_more_stages_than_there_are_is_refused():
    with pytest.raises(InputError, match="5 stages"):
        editor().last_stages(6)


def test_rules_that_match_nothing_are_refused_with_the_nearest_names():
    plan = editor()
    with pytest.raises(InputError, match="layer4"):
        plan.set_rules(["freeze *", "train layr4"])
    with pytest.raises(InputError, match="can't be read"):
        plan.set_rules(["unfreeze layer4"])
    assert plan.rules == HEAD_ONLY


def test_why_names_the_rule_that_decided():
    plan = editor(["freeze *", "train layer4", "freeze layer4.1.bn?", "train head"])
    assert plan.why("conv1") == "freeze *"
    assert plan.why("layer4.0") == "train layer4"
    assert plan.why("layer4.1.bn1") == "freeze layer4.1.bn?"
    assert plan.why("layer4") == "train layer4, freeze layer4.1.bn?"
    assert plan.why("fc") == "train head"
    assert plan.why("relu") == "nothing to train"
    assert editor(["freeze conv1"]).why("fc") == "no rule: trainable"


def test_counts_and_memory_follow_the_plan():
    plan = editor()
    assert (plan.counts.total, plan.counts.trainable) == (11_181_642, 5_130)
    assert plan.memory("adamw", "fp32").optimizer_state == 5_130 * 8
    assert plan.memory("sgd", "fp32", momentum=0).optimizer_state == 0
    assert plan.memory("sgd", "fp32").optimizer_state == plan.memory("adam", "fp32").gradients == 5_130 * 4
    assert plan.memory("rmsprop", "fp32").optimizer_state == 5_130 * 8
    buffers = 2 * 4800 + 20  # means and variances of all norms, and a counter each
    assert plan.memory("adamw", "fp32").weights == (11_181_642 + buffers) * 4
    assert plan.memory("adamw", "bf16").weights == (11_181_642 + buffers) * 4 + 5_130 * 2
    plan.all()
    assert plan.counts.frozen == 0


def test_rows_that_differ_from_another_plan_are_named_with_those_above():
    plan = editor()
    plan.toggle("layer4.1.conv2")
    assert plan.changed_since(HEAD_ONLY) == {"", "layer4", "layer4.1", "layer4.1.conv2"}


def test_search_finds_by_name_type_and_shape():
    find = editor().network.find
    assert find("layer3") == ["layer3"]
    assert find("layer3.1") == ["layer3.1"]
    assert find("adaptive") == ["avgpool"]
    assert find("512x7x7 basicblock") == ["layer4", "layer4.0", "layer4.1"]
    assert find("64×112") == ["conv1", "bn1", "relu"]
    assert find("nonsense") == find("  ") == []


def test_parameters_that_a_layer_with_layers_holds_itself_are_rows():
    model = network({"token": [1, 4], "fc": {"weight": [3, 4], "bias": [3]}, "act": {}}, ["fc"])
    plan = PlanEditor(model, HEAD_ONLY)
    assert list(plan.network.rows) == ["", "token", "fc", "act"]
    plan.toggle("token")
    assert plan.rules == ["train *"]


modules = st.recursive(
    st.sampled_from([{}, {"weight": [2]}, {"weight": [3], "bias": [1]}, "statistics"]),
    lambda below: st.dictionaries(st.sampled_from(["a", "b", "head", "norm", "c*"]), below, max_size=4).flatmap(
        lambda content: st.sampled_from([content, {"token": [5], **content}])
    ),
    max_leaves=12,
)


@st.composite
def small_networks(draw: st.DrawFn) -> LayerTree:
    spec: dict[str, Any] = draw(st.dictionaries(st.sampled_from(["stem", "body", "neck", "norm"]), modules, min_size=1))
    spec = {name: module for name, module in spec.items() if module != "statistics"}
    head = draw(
        st.sampled_from([{"fc": {"weight": [7], "bias": [1]}}, {"head": {"fc": {"w": [1]}, "norm": {"w": [2]}}}])
    )
    path = draw(st.sampled_from(["fc"] if "fc" in head else ["head", "head.fc"]))
    return network({**spec, **head}, [path], list(spec))


class Naive:
    """What an edit asks for, decided leaf by leaf; the yardstick for the editor."""

    def __init__(self, plan: PlanEditor) -> None:
        self.net = plan.network
        self.trains = {leaf: plan.decisions[leaf].trainable for leaf in self.net.leaves}

    def below(self, path: str) -> list[str]:
        return [leaf for leaf in self.net.leaves if not path or leaf == path or leaf.startswith(f"{path}.")]

    def edit(self, name: str, path: str, stages: list[list[str]], count: int) -> dict[str, bool]:
        below, head = self.below(path), [leaf for part in self.net.head for leaf in self.below(part)]
        order = {module: place for place, module in enumerate(self.net.modules)}

        def begins(leaf: str) -> int:
            return order[leaf if leaf in order else leaf.rpartition(".")[0]]

        match name:
            case "toggle":
                return {**self.trains, **dict.fromkeys(below, not all(self.trains[leaf] for leaf in below))}
            case "up_to_here":
                before = [leaf for leaf in self.net.leaves if begins(leaf) < begins(path) and leaf not in head]
                return {**self.trains, **dict.fromkeys(before, False)}
            case "head_only":
                return {leaf: leaf in head for leaf in self.net.leaves}
            case "all":
                return dict.fromkeys(self.net.leaves, True)
        last = [leaf for stage in stages[-count:] for part in stage for leaf in self.below(part)]
        return {leaf: leaf in [*last, *head] for leaf in self.net.leaves}


@settings(max_examples=150, deadline=None)
@given(model=small_networks(), data=st.data())
def test_any_sequence_of_edits_decides_what_was_asked_in_few_rules_and_can_be_undone(
    model: LayerTree, data: st.DataObject
):
    plan = PlanEditor(model, HEAD_ONLY)
    seen = [plan.rules]
    for _ in range(data.draw(st.integers(1, 8))):
        name = data.draw(
            st.sampled_from(["toggle", "toggle", "toggle", "up_to_here", "head_only", "all", "last_stages"])
        )
        path = data.draw(st.sampled_from(list(plan.network.rows)))
        count = data.draw(st.integers(1, 3))
        arguments = {"toggle": [path], "up_to_here": [path], "last_stages": [count]}.get(name, [])
        asked = Naive(plan).edit(name, path, plan.network.stages, count)
        before = plan.rules
        try:
            getattr(plan, name)(*arguments)
        except InputError:
            assert plan.rules == before
            continue
        parse_rules(plan.rules)
        assert {leaf: plan.decisions[leaf].trainable for leaf in plan.network.leaves} == asked
        if plan.rules != before:
            states = list(asked.values())
            naive = 1 + min(states.count(True), states.count(False))
            assert len(plan.rules) <= naive or plan.rules == seen[0]
            seen.append(plan.rules)
    for rules in reversed(seen[:-1]):
        plan.undo()
        assert plan.rules == rules
    assert not plan.can_undo
    for rules in seen[1:]:
        plan.redo()
        assert plan.rules == rules
    assert not plan.can_redo
