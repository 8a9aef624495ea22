"""The README's table of settings is the schema's. ``python -m tests.test_readme`` writes it anew."""

from __future__ import annotations

from pathlib import Path

from engine.config import allowed, is_live, settings

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"


def table() -> str:
    lines = ["| setting | default | takes | |", "| --- | --- | --- | --- |"]
    for key, field in settings():
        default = (
            str(field.default).lower() if isinstance(field.default, bool) else repr(field.default).replace("'", '"')
        )
        cells = [f"`{key}`" + (" ●" if is_live(key) else ""), f"`{default}`", allowed(field), str(field.description)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def parts() -> tuple[str, str, str]:
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


def test_the_table_of_settings_is_the_schemas():
    assert parts()[1] == table()


if __name__ == "__main__":
    before, _, after = parts()
    README.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
