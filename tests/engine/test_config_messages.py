"""What people write in a run.toml and after --set, and the sentence that helps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.messages import near_name
from engine.config.schema import settings
from engine.config.synonyms import SYNONYMS
from engine.config.toml_io import from_tables, load
from engine.errors import InputError

DIGITS = '[data]\nsource = "digits"\n'


def refusal(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(path)
    return str(caught.value)


def test_a_byte_order_mark_is_read(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text(DIGITS, encoding="utf-8-sig")
    assert load(path).data.source == "digits"


@pytest.mark.parametrize("value", [r"C:\Users\me", r"D:\data\photos", r"D:\photos\x", r"D:\fotos\new"])
def test_a_path_with_backslashes_says_how_to_write_it(value: str, tmp_path: Path):
    said = refusal(tmp_path / "run.toml", f'[data]\npath = "{value}"\n')
    assert "line 2" in said or "data.path" in said
    assert "write a path with backslashes in '…', or with / in their place" in said
    (tmp_path / "run.toml").write_text(f"[data]\npath = '{value}'\n")
    assert load(tmp_path / "run.toml").data.path.endswith(value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('model = "resnet18"', '`model` is a section: write `[model]` with name = "resnet18"'),
        ("train = 5", "`train` is a section: write `[train]` with epochs = 5"),
        ("lr = 0.1", '"lr" stands in no section; did you mean "optimizer.lr"?'),
        ("something = 1", '"something" stands in no section'),
    ],
)
def test_an_error_for_a_value_at_the_top_names_its_section(line: str, says: str, tmp_path: Path):
    assert refusal(tmp_path / "run.toml", f"{line}\n{DIGITS}").endswith(says)


@pytest.mark.parametrize(("typed", "meant"), [("optimiser", "optimizer"), ("backbone", "model"), ("dataset", "data")])
def test_a_section_of_another_name_is_named(typed: str, meant: str, tmp_path: Path):
    assert f"[{typed}] is not a section; did you mean [{meant}]?" in refusal(tmp_path / "run.toml", f"[{typed}]\na = 1")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "optimizer.lr"),
        ("train.lr", "optimizer.lr"),
        ("learning_rte", "optimizer.lr"),
        ("wd", "optimizer.weight_decay"),
        ("weight-decay", "optimizer.weight_decay"),
        ("train.patience", "train.early_stop_patience"),
        ("max_epochs", "train.epochs"),
        ("bs", "train.batch_size"),
        ("batch", "train.batch_size"),
        ("seed", "train.seed"),
        ("device", "train.device"),
        ("model.dropout", "head.dropout"),
        ("momentum", "optimizer.momentum"),
        ("arch", "model.name"),
        ("model", "model.name"),
        ("optimizer", "optimizer.name"),
        ("data", "data.path"),
        ("data.pth", "data.path"),
        ("optimizer.wieght_decay", "optimizer.weight_decay"),
        ("epcohs", "train.epochs"),
        ("num_workers", "data.workers"),
        ("pretrained", "model.weights"),
        ("fp16", "train.precision"),
        ("in_chans", "data.channels"),
        ("val_split", "data.val_fraction"),
        ("max_grad_norm", "optimizer.clip_norm"),
    ],
)
def test_another_word_for_a_setting_is_understood(typed: str, meant: str):
    assert meant in dict(settings())
    with pytest.raises(InputError, match=f'"{typed}" is not a setting; did you mean "{meant}"'):
        from_tables({"data": {"source": "digits"}}, {typed: "1"})


@pytest.mark.parametrize("typed", ["train.colour", "model.lora", "foo.bar", "x", "mode", "lrr", "temperature"])
def test_an_unrelated_word_gets_no_hint(typed: str):
    with pytest.raises(InputError, match=r"is not a setting$"):
        from_tables({"data": {"source": "digits"}}, {typed: "1"})


def test_every_synonym_leads_to_one_setting():
    """An entry of a setting that is gone, or a word that means two settings, would give a wrong hint."""
    words = [word for synonyms in SYNONYMS.values() for word in synonyms]
    assert set(SYNONYMS) <= set(dict(settings()))
    assert len(words) == len(set(words))
    assert {key: near_name(word, list(dict(settings()))) for key, (word, *_) in SYNONYMS.items()} == {
        key: key for key in SYNONYMS
    }


@pytest.mark.parametrize("value", ["2024", "true", "2024-01-01", "1e3", "[photos]"])
def test_text_that_looks_like_a_number_stays_text(value: str):
    assert from_tables({}, {"data.path": value}).data.path == str(Path.cwd() / value)
