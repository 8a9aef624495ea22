from pathlib import Path

import pytest

from engine.config.messages import allowed
from engine.config.schema import RunConfig, is_live, settings
from engine.config.toml_io import from_tables, load, to_toml, with_setting
from engine.errors import InputError

DIGITS = {"data": {"source": "digits"}}


def refusal(tables: dict, overrides: dict | None = None) -> str:
    with pytest.raises(InputError) as caught:
        from_tables(tables, overrides)
    return str(caught.value)


def test_a_written_config_reads_back_the_same(tmp_path: Path):
    config = from_tables(DIGITS, {"optimizer.lr": "3e-3", "head.hidden": "[64, 32]", "train.seed": "7"})
    for comments in (True, False):
        path = tmp_path / f"{comments}.toml"
        path.write_text(to_toml(config, comments=comments))
        assert load(path) == config


def test_every_setting_explains_itself_in_the_written_config():
    text = to_toml(from_tables(DIGITS))
    for key, field in settings():
        assert field.description, key
        assert field.description in text
        assert allowed(field) in text


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert refusal({**DIGITS, "optimizer": {"learning": 1}}).startswith('"optimizer.learning" is not a setting')
    assert '"optimizer.lr"' in refusal({**DIGITS, "optimizer": {"lrr": 1}})
    assert '"train.batch_size"' in refusal(DIGITS, {"train.batchsize": "8"})
    assert '"optimizer.lr"' in refusal(DIGITS, {"lr": "1"})
    assert "did you mean [optimizer]" in refusal({**DIGITS, "optimiser": {}})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("optimizer.lr", "-1", "0 < x ≤ 100"),
        ("optimizer.lr", "nan", "number"),
        ("optimizer.name", '"adamx"', "adamw | adam | sgd | rmsprop"),
        ("train.epochs", "2.5", "whole number"),
        ("train.epochs", "true", "whole number"),
        ("train.device", '"gpu"', "cuda:1"),
        ("data.stratify", "1", "true | false"),
        ("head.hidden", "[0]", "list of whole numbers"),
        ("freeze.rules", '["thaw *"]', 'write "freeze PATTERN"'),
        ("data.val_fraction", "0.7", "leave nothing to train on"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_range(key: str, value: str, says: str):
    sentence = refusal(DIGITS, {key: value, "data.test_fraction": "0.5"})
    assert says in sentence
    assert key.split(".", maxsplit=1)[0] in sentence


def test_data_that_need_a_path_say_so():
    assert "data.path is empty" in refusal({})
    assert "data.name is empty" in refusal({"data": {"source": "torchvision"}})


def test_relative_paths_are_relative_to_the_config_file(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('[data]\npath = "photos"\n[model]\nweights = "w.pth"\n')
    config = load(file)
    assert config.data.path == str(tmp_path / "photos")
    assert config.model.weights == str(tmp_path / "w.pth")
    assert load(file, {"model.weights": "none"}).model.weights == "none"


def test_a_file_that_is_no_toml_is_refused_with_the_place(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[data\npath = 1")
    with pytest.raises(InputError, match="line 1"):
        load(file)
    with pytest.raises(InputError, match="tltui new"):
        load(tmp_path / "missing.toml")


def test_only_marked_settings_can_change_in_a_run_and_they_stay_valid():
    assert {key for key, _ in settings() if is_live(key)} == {
        "freeze.rules",
        "optimizer.lr",
        "optimizer.backbone_lr_factor",
        "optimizer.clip_norm",
        "train.epochs",
    }
    config = from_tables(DIGITS)
    assert with_setting(config, "optimizer.lr", 0.5).optimizer.lr == 0.5
    with pytest.raises(InputError):
        with_setting(config, "optimizer.lr", "fast")


def test_a_config_can_not_be_changed_behind_its_back():
    with pytest.raises(ValueError, match="frozen"):
        from_tables(DIGITS).train.epochs = 3


def test_defaults_are_those_of_an_empty_config():
    assert from_tables(DIGITS) == RunConfig.model_validate(DIGITS)
