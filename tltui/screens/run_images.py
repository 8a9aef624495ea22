"""The pictures of one run: its mistakes, those of a cell of its confusion matrix, those of a class."""

from __future__ import annotations

from collections.abc import Callable

from textual.screen import Screen

from tltui.engine_client.images import Looking
from tltui.runs.predictions import Pictured, mistakes, pictures_in, pictures_of
from tltui.runs.run_follower import Following
from tltui.screens.dialogs import Choose
from tltui.screens.images import Pictures
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.image_view import Kind


class RunPictures:
    """Opens them over a screen. ``layer`` gives the layer whose activations a heat map is to show; ``kind``: as
    ``PictureView`` takes it."""

    def __init__(
        self,
        screen: Screen[None],
        following: Following,
        layer: Callable[[], str],
        glyphs: Glyphs,
        kind: Kind | None,
    ) -> None:
        self._screen = screen
        self._following = following
        self._layer = layer
        self._glyphs = glyphs
        self._kind: Kind | None = kind
        self._looking = Looking(following.folder.path)

    def of_cell(self, true: str, predicted: str) -> None:
        """Show the pictures of class ``true`` that were taken for ``predicted``."""
        found = pictures_of(self._following.folder.predictions, true, predicted)
        self._show(f"{safe(true, 24)} taken for {safe(predicted, 24)}", found)

    def mistakes(self, classes: list[str]) -> None:
        """Show what was taken for another class, the surest first."""
        self._show("Mistakes, the surest first", mistakes(self._following.folder.predictions, classes))

    def browse(self) -> None:
        """Ask for a class and show its pictures."""
        data = self._following.state.data
        classes = data.classes if data else []

        def show(chosen: str | None) -> None:
            if chosen is not None:
                label = classes[int(chosen)]
                self._show(safe(label, 40), pictures_in(self._following.folder.splits, label))

        options = [(str(at), label) for at, label in enumerate(classes)]
        self._screen.app.push_screen(Choose("Pictures of which class?", options), show)

    async def close(self) -> None:
        """Let go of the process that opens them."""
        await self._looking.close()

    def _show(self, title: str, pictures: list[Pictured]) -> None:
        if not pictures:
            self._screen.notify("no such picture is listed in the run's tables", timeout=3)
            return
        title = f"{title}: {len(pictures):,} picture{'s' if len(pictures) > 1 else ''}"
        screen = Pictures(title, pictures, self._looking, self._layer(), self._glyphs, self._kind)
        self._screen.app.push_screen(screen)
