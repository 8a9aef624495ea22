"""``tltui help`` in a pipe."""

from __future__ import annotations

import pytest

from tests.tltui.test_command_line import CommandLine
from tltui.manual.pages import pages


def test_without_a_topic_it_lists_the_pages(tltui: CommandLine):
    shown = tltui("help")
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(pages())]] == list(pages())
    assert "<!--" not in shown.stdout


def test_a_page_comes_as_markdown_without_the_marks_of_its_generated_parts(tltui: CommandLine):
    shown = tltui("help", "settings")
    assert shown.returncode == 0
    assert shown.stdout.startswith("# Settings\n")
    assert "#### `optimizer.lr`\n" in shown.stdout
    assert "<!--" not in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("topic", "first"),
    [
        ("train", "### `tltui train`"),
        ("optimizer.lr", "#### `optimizer.lr`"),
        ("head_frozen", "### `head_frozen`"),
        ("run_finished", "### `run_finished`"),
    ],
)
def test_an_entry_comes_alone(tltui: CommandLine, topic: str, first: str):
    shown = tltui("help", topic)
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0] == first
    assert len([line for line in shown.stdout.splitlines() if line.startswith("#")]) == 1


def test_an_unknown_topic_is_one_sentence_with_the_nearest_names(tltui: CommandLine):
    shown = tltui("help", "freezin")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert '"freezin" is not a topic of the manual; did you mean "freezing"' in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert r"\x1b" in tltui("help", "\x1b[2J").stderr


def test_topics_complete(tltui: CommandLine):
    for typed, completed in (("free", "freezing"), ("optimizer.l", "optimizer.lr"), ("head_", "head_frozen")):
        tltui.environment |= {
            "_TLTUI_COMPLETE": "bash_complete",
            "COMP_WORDS": f"tltui help {typed}",
            "COMP_CWORD": "2",
        }
        assert completed in tltui().stdout
