"""The image browser of a run: true and predicted class, confidence, Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import InputError
from tltui.engine_client.images import ImageClient
from tltui.runs.predictions import PredictedImage
from tltui.text.glyphs import Glyphs, safe
from tltui.widgets.image_view import ImageView, Kind


class ImageBrowser(ModalScreen[None]):
    """A list of images beside the current one, with its prediction below."""

    manual_topic = "evaluation"

    CSS_PATH = "../widgets/dialogs.tcss"
    DEFAULT_CSS = """
    ImageBrowser #names { width: 2fr; height: 1fr; margin: 0 1 0 0; }
    ImageBrowser #side { width: 3fr; height: 1fr; }
    ImageBrowser #facts { height: auto; margin: 0 0 1 0; }
    ImageBrowser ImageView { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", id="images.close"),
        Binding("g", "heat", "Grad-CAM on / off", id="images.heat"),
    ]

    def __init__(
        self,
        title: str,
        images: Sequence[PredictedImage],
        looking: ImageClient,
        layer: str,
        glyphs: Glyphs,
        kind: Kind | None = None,
    ) -> None:
        """``layer``: the layer of the heat map; "": the last spatial one. ``kind``: as in ``ImageView``."""
        super().__init__()
        self._title = title
        self._images = images
        self._looking = looking
        self._layer = layer
        self._glyphs = glyphs
        self._heat = False
        self._view = ImageView(kind)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content(self._title)
            with Horizontal():
                names = (safe(one.path) for one in self._images)
                yield OptionList(*(Option(Content(name)) for name in names), compact=True, id="names")
                with Vertical(id="side"):
                    yield self._view
                    yield Static(id="facts", markup=False)
            yield Static("g Grad-CAM  esc close", classes="keys")

    @property
    def _chosen(self) -> PredictedImage | None:
        at = self.query_one("#names", OptionList).highlighted
        return self._images[at] if at is not None else None

    @on(OptionList.OptionHighlighted)
    def _moved(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._look()

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._look)

    def action_heat(self) -> None:
        """Show or hide the Grad-CAM heat map for the predicted class."""
        self._heat = not self._heat
        self._look()

    def action_close(self) -> None:
        self.dismiss()

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look(self) -> None:
        chosen = self._chosen
        if chosen is None or not self._view.content_size.width:
            return
        self.query_one("#facts", Static).update(Content("\n".join(self._facts(chosen))))
        self._view.say("computing Grad-CAM …" if self._heat else "")
        label = _explained(chosen) if self._heat else None
        try:
            png = await self._looking.image(chosen.path, self._view.pixels, label, self._layer)
        except InputError as error:
            self._view.say(safe(str(error), 200))
        else:
            self._view.show(png)

    def _facts(self, one: PredictedImage) -> list[str]:
        true, predicted = safe(one.true, 40), safe(one.predicted, 40)
        if one.label:
            found = [f"true: {true or 'no label'}", *([f"predicted: {predicted}"] if predicted else [])]
        elif not predicted:
            found = [true]
        elif one.true == one.predicted:
            found = [f"{true}: correct, confidence {one.probability:.1%}"]
        else:
            found = [f"{true}: misclassified as {predicted}, confidence {one.probability:.1%}"]
        if self._heat:
            where = safe(self._layer, 60) if self._layer else "the last spatial layer"
            found.append(f"Grad-CAM for {safe(_explained(one), 40)} at {where}")
        return found


def _explained(one: PredictedImage) -> str:
    """The class of the heat map."""
    return one.label or one.predicted or one.true
