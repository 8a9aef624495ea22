"""What one can ask the manual for: a page, a command, a setting, an event, a warning code."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

from tltui.manual.pages import pages

# Where a name is an entry of several generated blocks, the first of these has it.
_BLOCKS = ("commands", "settings", "events", "warning-codes", "sweep-settings", "engine-commands")
_COMMAND = "tltui "


@dataclass(frozen=True)
class Location:
    """A page, or one of its headings."""

    page: str
    anchor: str = ""


@cache
def topics() -> dict[str, Location]:
    """Everything that can be asked for, by name: the pages first, then the entries of their generated blocks."""
    found = {id: Location(id) for id in pages()}
    entries = [(heading, page.id) for page in pages().values() for heading in page.headings if heading.block in _BLOCKS]
    for heading, page_id in sorted(entries, key=lambda entry: _BLOCKS.index(entry[0].block)):
        found.setdefault(heading.text.removeprefix(_COMMAND), Location(page_id, heading.anchor))
    return found


def find(topic: str) -> Location | None:
    """Where the manual has ``topic``, in whatever case; None where it has not."""
    known = topics()
    wanted = topic.strip().removeprefix(_COMMAND)
    return known.get(wanted) or known.get(wanted.lower())


def nearest(topic: str) -> list[str]:
    """The names most like ``topic``, the most like it first; a setting is also found without its section."""
    known = list(topics())
    wanted = topic.strip().lower()
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == wanted]
    begin = [name for name in known if name.startswith(wanted)] if wanted else []
    return list(dict.fromkeys([*same_leaf, *begin, *difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)]))[:3]
