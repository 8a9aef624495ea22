"""What stands out in a run, and the key that does what helps."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

from engine.diagnosis.finding import Finding, Remedy

_BETWEEN = Content("   ")


class FindingLine(Widget):
    """One finding, on a line or, where it is too long for one, two; takes no room while there is none."""

    DEFAULT_CSS = """
    FindingLine {
        height: auto;
        padding: 0 1;
        color: $text-warning;
        link-style: none;
        link-color: $text-warning;
        link-background: $background;
        text-wrap: nowrap;
        display: none;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._finding = Content("")
        self._remedy = Content("")

    def show(self, finding: Finding, remedy: Remedy, others: int) -> None:
        """``remedy`` is what the key does; ``others``: how many findings there are besides."""
        more = f" (and {others} more in the report)" if others else ""
        said = Content.assemble((finding.case, "bold"), f": {finding.sentence}{more}")
        key = Content.assemble((self._key, "bold"), f" {remedy.words}")
        if not self.display or (said, key) != (self._finding, self._remedy):
            self._finding, self._remedy = said, key
            self.display = True
            self.refresh(layout=True)

    def clear(self) -> None:
        """There is nothing to say."""
        self.display = False

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, or two."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The lines for the present width."""
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        act = self._remedy.stylize(Style.from_meta({"@click": "screen.advice"}))
        whole = Content.assemble(self._finding, _BETWEEN, act)
        if whole.cell_length <= width:
            return [whole]
        return [self._finding.truncate(width, ellipsis=not self.app.has_class("-ascii")), act]

    @property
    def _key(self) -> str:
        """The key in force for what helps."""
        active = (one.binding for one in self.screen.active_bindings.values())
        return next((self.app.get_key_display(one) for one in active if one.id == "workbench.advice"), "")
