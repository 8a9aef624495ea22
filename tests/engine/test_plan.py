import pytest

from engine.config.freeze_rules import RuleMatcher, is_norm
from engine.errors import InputError

TYPES = {
    "": "ResNet",
    "conv1": "Conv2d",
    "layer1": "Sequential",
    "layer1.0": "Block",
    "layer1.0.bn": "BatchNormAct2d",
    "layer4": "Sequential",
    "layer4.0": "Conv2d",
    "head": "NormMlpClassifierHead",
    "head.fc": "Linear",
}
PARAMETERS = ["token", "conv1.weight", "layer1.0.bn.weight", "layer4.0.weight", "layer4.0.bias", "head.fc.weight"]
HEAD = ["head.fc"]


def trained(*rules: str) -> set[str]:
    decisions = RuleMatcher(TYPES, PARAMETERS, HEAD).decide(rules)
    return {name for name in PARAMETERS if decisions[name].trainable}


def test_without_rules_everything_trains():
    assert trained() == set(PARAMETERS)


def test_the_last_rule_that_covers_a_name_decides():
    assert trained("freeze *", "train head") == {"head.fc.weight"}
    assert trained("train layer4", "freeze *", "train head") == {"head.fc.weight"}
    assert trained("freeze *", "train layer4", "freeze layer4.0.bias") == {"layer4.0.weight"}


def test_a_path_covers_all_below_it_and_nothing_beside_it():
    assert trained("freeze *", "train layer1") == {"layer1.0.bn.weight"}
    assert trained("freeze *", "train layer?.0") == {"layer1.0.bn.weight", "layer4.0.weight", "layer4.0.bias"}
    assert trained("freeze *", "train *.bn") == {"layer1.0.bn.weight"}


def test_a_parameter_of_the_model_itself_has_a_name_too():
    assert trained("freeze *", "train token") == {"token"}


def test_the_word_head_means_the_new_classifier_whatever_the_model_calls_head():
    decisions = RuleMatcher(TYPES, PARAMETERS, HEAD).decide(["freeze *", "train head"])
    assert decisions["head.fc"].trainable
    assert not decisions["head"].trainable


def test_a_pattern_chooses_parameters_too():
    assert trained("freeze *", "train *.bias") == {"layer4.0.bias"}
    assert trained("train *", "freeze *.bias") == set(PARAMETERS) - {"layer4.0.bias"}


def test_the_word_norms_means_all_normalization_layers():
    assert trained("freeze *", "train norms") == {"layer1.0.bn.weight"}
    assert trained("freeze norms") == set(PARAMETERS) - {"layer1.0.bn.weight"}
    without = RuleMatcher({"": "VGG", "fc": "Linear"}, ["fc.weight"], ["fc"])
    with pytest.raises(InputError, match='"train norms" matches no layer: the network has no normalization layers'):
        without.decide(["freeze *", "train norms", "train head"])


@pytest.mark.parametrize("name", ["BatchNorm2d", "LayerNorm", "GroupNormAct", "RmsNorm2d", "RMSNorm", "SyncBatchNorm"])
def test_normalization_layers_of_all_libraries_are_known(name: str):
    assert is_norm(name)


@pytest.mark.parametrize("name", ["Conv2dNormActivation", "ConvNormAct", "NormMlp", "GlobalResponseNormMlp", "Linear"])
def test_layers_that_hold_a_normalization_are_none(name: str):
    assert not is_norm(name)


def test_each_decision_names_its_rule():
    decisions = RuleMatcher(TYPES, PARAMETERS, HEAD).decide(["freeze *", "train layer4"])
    assert str(decisions["layer4.0.weight"].rule) == "train layer4"
    assert str(decisions["conv1.weight"].rule) == "freeze *"


def test_a_rule_that_matches_no_layer_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"train layr4.*nearest layers: layer4"):
        trained("freeze *", "train layr4")


def test_a_plan_that_leaves_nothing_to_train_is_refused():
    with pytest.raises(InputError, match=r"nothing to train.*head\.fc"):
        trained("freeze *")
