"""The images of one run: its mistakes, those of a cell of its confusion matrix, those of a class."""

from __future__ import annotations

from collections.abc import Callable

from textual.screen import Screen

from tltui.engine_client.images import ImageClient
from tltui.runs.predictions import PredictedImage, confused_images, images_of_class, misclassified_images
from tltui.runs.run_follower import RunFollower
from tltui.screens.dialogs import Choose
from tltui.screens.images import ImageBrowser
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.image_view import Kind


class RunImages:
    """Opens them over a screen. ``layer`` gives the layer whose activations a heat map is to show; ``kind``: as
    ``ImageView`` takes it."""

    def __init__(
        self,
        screen: Screen[None],
        following: RunFollower,
        layer: Callable[[], str],
        glyphs: Glyphs,
        kind: Kind | None,
    ) -> None:
        self._screen = screen
        self._following = following
        self._layer = layer
        self._glyphs = glyphs
        self._kind: Kind | None = kind
        self._looking = ImageClient(following.folder.path)

    def of_cell(self, true: str, predicted: str) -> None:
        """Show the images of class ``true`` that were taken for ``predicted``."""
        found = confused_images(self._following.folder.predictions, true, predicted)
        self._show(f"{safe(true, 24)} taken for {safe(predicted, 24)}", found)

    def mistakes(self, classes: list[str]) -> None:
        """Show what was taken for another class, the surest first."""
        self._show("Mistakes, the surest first", misclassified_images(self._following.folder.predictions, classes))

    def browse(self) -> None:
        """Ask for a class and show its images."""
        data = self._following.state.data
        classes = data.classes if data else []

        def show(chosen: str | None) -> None:
            if chosen is not None:
                label = classes[int(chosen)]
                self._show(safe(label, 40), images_of_class(self._following.folder.splits, label))

        options = [(str(at), label) for at, label in enumerate(classes)]
        self._screen.app.push_screen(Choose("Images of which class?", options), show)

    async def close(self) -> None:
        """Let go of the process that opens them."""
        await self._looking.close()

    def _show(self, title: str, images: list[PredictedImage]) -> None:
        if not images:
            self._screen.notify("no such image is listed in the run's tables", timeout=3)
            return
        title = f"{title}: {len(images):,} image{'s' if len(images) > 1 else ''}"
        screen = ImageBrowser(title, images, self._looking, self._layer(), self._glyphs, self._kind)
        self._screen.app.push_screen(screen)
