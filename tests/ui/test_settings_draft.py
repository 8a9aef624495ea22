"""Settings as they are typed."""

import pytest

from engine.config.choices import choices_of
from engine.config.schema import SPLIT_METHODS
from engine.errors import InputError
from tltui.settings.draft import CONDITIONS, FIELDS, SettingsDraft, default, from_text, range_of, to_text


def draft(**values: object) -> SettingsDraft:
    made = SettingsDraft({"data": {"source": "digits"}})
    for key, value in values.items():
        made[key.replace("__", ".")] = value
    return made


def test_a_draft_without_tables_has_the_defaults():
    assert not any(SettingsDraft({}).is_changed(key) for key in FIELDS)


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("train.epochs", "many", "whole number, 1 ≤ x ≤ 100000"),
        ("train.epochs", "0", "1 ≤ x"),
        ("optimizer.lr", "nan", "0 < x ≤ 100"),
        ("head.hidden", "256, wide", "whole numbers"),
        ("freeze.rules", "melt layer4", 'write "freeze PATTERN" or "train PATTERN"'),
        ("train.device", "gpu", "auto | cpu | cuda"),
    ],
)
def test_what_can_not_be_used_says_what_the_setting_takes(key: str, text: str, reason: str):
    made = draft()
    made[key] = from_text(key, text)
    assert reason in made.problem(key)
    assert list(made.problems()) == [key]


def test_a_valid_draft_has_no_problems_and_is_a_config():
    made = draft(train__epochs=3)
    assert made.problems() == {}
    assert made.config().train.epochs == 3


def test_an_invalid_draft_is_no_config():
    with pytest.raises(InputError, match=r"train\.epochs"):
        draft(train__epochs=0).config()


def test_a_missing_path_is_a_problem_of_the_path():
    assert "data.path is empty" in SettingsDraft({}).problems()["data.path"]


def test_lists_are_typed_with_commas_between():
    assert from_text("head.hidden", "256, 128,") == [256, 128]
    assert from_text("data.value_range", "[-160, 240]") == [-160.0, 240.0]
    assert from_text("freeze.rules", "freeze *, train head") == ["freeze *", "train head"]


@pytest.mark.parametrize("key", [key for key, f in FIELDS.items() if choices_of(f) is None])
def test_a_value_survives_being_written_and_read(key: str):
    if FIELDS[key].annotation is not bool:
        assert from_text(key, to_text(default(key))) == default(key)


@pytest.mark.parametrize("value", [1e-5, 0.1, 0.123456789, 3e-4, 1.0])
def test_numbers_are_written_without_loss(value: float):
    assert from_text("optimizer.lr", to_text(value)) == value


def test_momentum_matters_for_the_optimizers_that_have_it():
    assert not draft().has_effect("optimizer.momentum")
    assert draft(optimizer__name="sgd").has_effect("optimizer.momentum")


def test_the_fields_of_the_data_follow_its_source():
    assert [key for key in ("data.path", "data.name") if draft().has_effect(key)] == []
    assert [key for key in ("data.path", "data.name") if draft(data__source="folder").has_effect(key)] == ["data.path"]
    assert draft(data__source="torchvision").has_effect("data.name")


def test_a_warmup_that_was_set_stays_in_view_since_it_acts():
    assert not draft(schedule__name="onecycle").has_effect("schedule.warmup_epochs")
    assert draft(schedule__name="onecycle", schedule__warmup_epochs=2.0).has_effect("schedule.warmup_epochs")


def test_the_table_of_dependencies_names_settings_and_values_that_exist():
    for key, when in CONDITIONS.items():
        assert key in FIELDS
        assert when.key in FIELDS
        choices = choices_of(FIELDS[when.key]) or {"data.split": SPLIT_METHODS}[when.key]
        assert {bool(when.applies(choice)) for choice in choices} == {True, False}


def test_a_range_is_short():
    assert range_of("head.dropout") == "0 ≤ x < 1"
    assert range_of("data.path") == ""
