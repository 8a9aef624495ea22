"""The manual says what the code does: its index, its links, its generated parts, and the ways into it."""

from __future__ import annotations

import re

import pytest

from engine.config.schema import settings
from engine.warning_codes import MEANINGS
from tltui.app.action_index import known_actions
from tltui.app.app import TltuiApp
from tltui.cli.main import cli
from tltui.manual.command_pages import PAGES
from tltui.manual.pages import FOLDER, INDEX, Page, pages, section, without_comments
from tltui.manual.search import search
from tltui.manual.topics import Location, find, nearest, topics
from tltui.manual_reference.blocks import BLOCKS, renewed

FILES = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
LINK = re.compile(r"\[[^]]*\]\(([^)\s]*)\)")


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_generated_parts_of_a_page_are_up_to_date(name: str):
    assert renewed(FILES[name]) == FILES[name], "run: python -m tltui.manual_reference"


def test_every_generated_part_is_on_one_page():
    found = re.findall(r"<!-- generated: (.+) -->", "\n".join(FILES.values()))
    assert sorted(found) == sorted(BLOCKS)


def test_the_index_lists_every_page_once_under_its_title():
    listed = re.findall(r"^- \[.*\]\((.*)\.md\): .+$", FILES[INDEX], re.MULTILINE)
    assert sorted(listed) == sorted(set(FILES) - {INDEX})
    assert {page.id: page.title for page in pages().values()} == {
        name: text.splitlines()[0].removeprefix("# ") for name, text in FILES.items() if name != INDEX
    }


def test_every_link_between_pages_leads_somewhere():
    anchors = {page.id: {"", *(heading.anchor for heading in page.headings)} for page in pages().values()}
    for name, text in FILES.items():
        for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if not target.startswith(("http:", "https:")):
                page_id, _, anchor = target.partition("#")
                assert anchor in anchors.get(page_id.removesuffix(".md") or name, set()), f"{name}: {target}"


def test_every_command_names_its_page():
    assert set(PAGES) == set(cli.commands)
    for name, command in cli.commands.items():
        assert PAGES[name] in pages(), name
        assert command.epilog == f"Manual: tltui help {PAGES[name]}"


def test_settings_commands_and_codes_are_topics():
    known = topics()
    assert [key for key, _ in settings() if known[key].page != "settings"] == []
    assert [name for name in cli.commands if name not in known] == []
    assert [code for code in MEANINGS if known[code].page not in ("troubleshooting", "run-folder")] == []


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("freezing", Location("freezing")),
        ("Freezing", Location("freezing")),
        ("train", Location("commands", "tltui-train")),
        ("tltui train", Location("commands", "tltui-train")),
        ("optimizer.lr", Location("settings", "optimizerlr")),
        ("head_frozen", Location("troubleshooting", "head_frozen")),
        ("model_ready", Location("run-folder", "model_ready")),
    ],
)
def test_a_topic_is_found_where_it_is_explained(topic: str, found: Location):
    assert find(topic) == found
    if found.anchor:
        assert found.anchor in {heading.anchor for heading in pages()[found.page].headings}


@pytest.mark.parametrize(("topic", "near"), [("lr", "optimizer.lr"), ("freezin", "freezing"), ("evalute", "evaluate")])
def test_what_is_no_topic_has_near_ones(topic: str, near: str):
    assert find(topic) is None
    assert near in nearest(topic)


def test_a_section_ends_where_the_next_of_its_rank_begins():
    text = without_comments(section(pages()["settings"], "optimizerlr"))
    assert text.startswith("#### `optimizer.lr`\n")
    assert text.count("#### ") == 1


def test_a_search_finds_prose_tables_and_code_with_their_lines():
    def lines(words: str) -> list[str]:
        return [pages()[hit.page].text.splitlines()[hit.line] for hit in search(words)]

    assert any("optimizer.lr" in line for line in lines("OPTIMIZER.LR"))
    assert any(line.startswith("| ") for line in lines("workbench.run"))
    assert any(line.startswith("tltui help") for line in lines("tltui help freezing"))
    assert search("no page says this") == search("  ") == []


def test_words_are_found_over_the_end_of_a_line_and_marked_where_they_are():
    prose = {page.id: re.sub(r"```.*?```", "", page.text, flags=re.DOTALL) for page in pages().values()}
    name, broken = next((name, found) for name, text in prose.items() if (found := re.search(r" (\w+)\n(\w+) ", text)))
    hit = next(hit for hit in search(f"{broken[1]}   {broken[2]}") if hit.page == name)
    assert hit.text[hit.start : hit.end].lower() == f"{broken[1]} {broken[2]}"


def test_a_block_that_nothing_makes_is_an_error():
    with pytest.raises(KeyError):
        renewed("<!-- generated: nonesuch -->\n<!-- end generated -->\n")


def test_every_place_in_the_app_has_a_page():
    known_actions(TltuiApp)  # imports all screens
    from textual.widget import Widget

    classes: list[type] = [Widget]
    for cls in classes:
        classes += [sub for sub in cls.__subclasses__() if sub not in classes]
    asked = {cls.__name__: topic for cls in classes if isinstance(topic := vars(cls).get("manual_topic"), str)}
    assert {"Home", "Workbench", "LayersPane", "SetupPane", "EvaluatePane", "Compare", "SweepScreen"} <= set(asked)
    assert [name for name, topic in asked.items() if find(topic) is None] == []


def test_headings_in_code_are_none_and_equal_ones_have_anchors_of_their_own():
    page = Page("keys", "Keys", "")
    assert len({heading.anchor for heading in page.headings}) == len(page.headings)
    assert all(not heading.text.startswith("a comment") for one in pages().values() for heading in one.headings)
