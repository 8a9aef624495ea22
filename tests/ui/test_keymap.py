"""The user's own keys."""

from pathlib import Path

import pytest

from tltui.app.action_index import known_actions
from tltui.app.app import TltuiApp
from tltui.keys.keymap import SCOPES, effective_keys, load_keymap

TAKEN = {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+q", "ctrl+z", "ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "f1", "f10", "f11"}
ALSO_ELSEWHERE = {"app.manual"}  # F1, for which app.manual_letter stands in


def load(tmp_path: Path, text: str) -> tuple[dict[str, str], list[str]]:
    path = tmp_path / "keymap.toml"
    path.write_text(text)
    return load_keymap(path, lambda: known_actions(TltuiApp))


def test_a_key_can_be_given_to_another_action(tmp_path: Path):
    keymap, problems = load(tmp_path, '"workbench.run" = "f7,f8"')
    assert (keymap, problems) == ({"workbench.run": "f7,f8"}, [])
    assert {bound.id: bound.keys for bound in effective_keys(known_actions(TltuiApp), keymap)}["workbench.run"] == (
        "f7",
        "f8",
    )


def test_two_actions_can_swap_their_keys(tmp_path: Path):
    keymap, problems = load(tmp_path, '"workbench.pause" = "s"\n"workbench.stop" = "p"')
    assert problems == []
    assert keymap == {"workbench.pause": "s", "workbench.stop": "p"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"workbench.fly" = "g"', "is no action"),
        ('"workbench.run" = "ctrl+nonsense"', "is no key"),
        ('"workbench.run" = 3', "needs keys in quotes"),
        ('"workbench.run" = "p"', 'belongs to "workbench.pause"'),
        ('"workbench.run" = "q"', 'belongs to "app.quit"'),
        ('"layers.toggle" = "r"', 'belongs to "workbench.run"'),
        ('[workbench]\npause = "P"', 'write lines like "workbench.pause" = "r"'),
        ("not toml", "can't be read"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_the_default(tmp_path: Path, line: str, reason: str):
    keymap, problems = load(tmp_path, line)
    assert keymap == {}
    assert len(problems) == 1
    assert reason in problems[0]


def test_one_wrong_line_does_not_take_the_others_away(tmp_path: Path):
    keymap, problems = load(tmp_path, '"workbench.fly" = "g"\n"home.new" = "ctrl+n"')
    assert keymap == {"home.new": "ctrl+n"}
    assert len(problems) == 1


def test_no_file_is_no_problem(tmp_path: Path):
    assert load_keymap(tmp_path / "none.toml", lambda: known_actions(TltuiApp)) == ({}, [])


def test_every_action_says_what_it_does_and_belongs_somewhere():
    for bound in known_actions(TltuiApp).values():
        assert bound.description, bound.id
        assert bound.scope in SCOPES, bound.id


def test_no_default_key_is_one_that_terminals_and_multiplexers_take():
    for bound in known_actions(TltuiApp).values():
        for key in bound.keys if bound.id not in ALSO_ELSEWHERE else ():
            assert key not in TAKEN, bound.id
            assert not key.startswith(("alt+", "shift+")), bound.id


def test_no_default_key_means_two_things_in_one_place():
    seen: dict[tuple[str, str], str] = {}
    for bound in known_actions(TltuiApp).values():
        for key in bound.keys:
            other = seen.setdefault((bound.scope, key), bound.id)
            assert other == bound.id, f"{key}: {other} and {bound.id}"
