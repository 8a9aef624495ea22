"""Topics of the manual: pages, commands, settings, events, warning codes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

from tltui.manual.pages import pages

# Where several generated blocks have an entry of the same name, the first block wins.
_BLOCKS = ("commands", "settings", "events", "warning-codes", "sweep-settings", "engine-commands")
_COMMAND = "tltui "


@dataclass(frozen=True)
class Location:
    """A page, or one of its headings."""

    page: str
    anchor: str = ""


@cache
def topics() -> dict[str, Location]:
    """All topics by name: pages, then entries of generated blocks."""
    found = {id: Location(id) for id in pages()}
    entries = [(heading, page.id) for page in pages().values() for heading in page.headings if heading.block in _BLOCKS]
    for heading, page_id in sorted(entries, key=lambda entry: _BLOCKS.index(entry[0].block)):
        found.setdefault(heading.text.removeprefix(_COMMAND), Location(page_id, heading.anchor))
    return found


def find(topic: str) -> Location | None:
    """The location of ``topic``, ignoring case; None if unknown."""
    known = topics()
    query = topic.strip().removeprefix(_COMMAND)
    return known.get(query) or known.get(query.lower())


def nearest(topic: str) -> list[str]:
    """The closest topic names, best first; a setting matches without its section too."""
    known = list(topics())
    query = topic.strip().lower()
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == query]
    begin = [name for name in known if name.startswith(query)] if query else []
    return list(dict.fromkeys([*same_leaf, *begin, *difflib.get_close_matches(query, known, n=3, cutoff=0.6)]))[:3]
