"""The README's tables are the schema's and the bindings'. ``python -m tests.test_readme`` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.messages import allowed
from engine.config.schema import is_live, settings
from tltui.app.action_index import known_actions
from tltui.keys.keymap import SCOPES

README = Path(__file__).parent.parent / "README.md"
MOVES = {"up", "down", "left", "right", "pageup", "pagedown", "home", "end", "enter", "escape", "tab"}
KEY_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


def settings_table() -> str:
    lines = ["| setting | default | takes | |", "| --- | --- | --- | --- |"]
    for key, field in settings():
        plain = str(field.default).lower() if isinstance(field.default, bool) else repr(field.default)
        default = plain.replace("'", '"')
        cells = [f"`{key}`" + (" ●" if is_live(key) else ""), f"`{default}`", allowed(field), str(field.description)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def keys_table() -> str:
    """The default keys of every action that is no plain cursor movement, by the place where they work."""
    lines = ["| where | key | does | id |", "| --- | --- | --- | --- |"]
    for scope, (heading, _) in SCOPES.items():
        for bound in known_actions().values():
            if bound.scope == scope and not set(bound.keys) & MOVES:
                keys = " ".join(f"`{KEY_NAMES.get(key, key)}`" for key in bound.keys)
                lines.append(f"| {heading} | {keys} | {bound.description} | `{bound.id}` |")
    return "\n".join(lines) + "\n"


TABLES = {"settings": settings_table, "keys": keys_table}


def parts(name: str) -> tuple[str, str, str]:
    """The README before a generated table, the table, and what follows."""
    before, rest = README.read_text(encoding="utf-8").split(f"<!-- {name} -->\n")
    inside, after = rest.split(f"<!-- end of {name} -->\n")
    return before, inside, after


@pytest.mark.parametrize("name", TABLES)
def test_a_generated_table_is_up_to_date(name: str):
    assert parts(name)[1] == TABLES[name]()


if __name__ == "__main__":
    for name, table in TABLES.items():
        before, _, after = parts(name)
        README.write_text(f"{before}<!-- {name} -->\n{table()}<!-- end of {name} -->\n{after}", encoding="utf-8")
