"""The images of one run: misclassified, of a confusion matrix cell, of a class."""

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
    """Opens the image browser over a screen. ``layer`` returns the layer for heat maps."""

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

    def show_cell(self, true: str, predicted: str) -> None:
        """Show the images of class ``true`` that are predicted as ``predicted``."""
        found = confused_images(self._following.folder.predictions, true, predicted)
        self._show(_cell_title(true, predicted), found)

    def show_misclassified(self, classes: list[str]) -> None:
        """Show the misclassified images, most confident first; of numbers, the largest errors first."""
        found = misclassified_images(self._following.folder.predictions, classes, self._task)
        self._show(
            "Largest errors first" if self._task == "regression" else "Misclassified, most confident first", found
        )

    def browse(self) -> None:
        """Ask for a class and show its images."""
        data = self._following.state.data
        if data and data.task == "regression":
            self._screen.notify("Numbers have no classes; F5, m: largest errors", timeout=3)
            return
        classes = data.classes if data else []

        def show(chosen: str | None) -> None:
            if chosen is not None:
                label = classes[int(chosen)]
                self._show(safe(label, 40), images_of_class(self._following.folder.splits, label, self._task))

        options = [(str(at), label) for at, label in enumerate(classes)]
        self._screen.app.push_screen(Choose("Images of which class?", options), show)

    async def close(self) -> None:
        """End the image server."""
        await self._looking.close()

    @property
    def _task(self) -> str:
        data = self._following.state.data
        return data.task if data else "single"

    def _show(self, title: str, images: list[PredictedImage]) -> None:
        if not images:
            self._screen.notify("No such images in this run", timeout=3)
            return
        title = f"{title}: {len(images):,} image{'s' if len(images) > 1 else ''}"
        screen = ImageBrowser(title, images, self._looking, self._layer(), self._glyphs, self._kind)
        self._screen.app.push_screen(screen)


def _cell_title(true: str, predicted: str) -> str:
    if true == predicted:
        return f"{safe(true, 24)}, correct"
    return f"{safe(true, 24)} misclassified as {safe(predicted, 24)}"
