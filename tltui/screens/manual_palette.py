"""The pages of the manual in the command palette."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from textual.command import Hit, Hits, Provider

from tltui.manual.pages import pages, plain


class ManualPages(Provider):
    """Finds pages by title; without a query it lists none, since the list of commands is long."""

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, summary, run in self._commands():
            if (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), run, help=summary)

    def _commands(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        for page in pages().values():
            run = partial(self.app.run_action, f"app.manual({page.id!r})")
            yield f"Manual: {page.title}", plain(page.summary), run
