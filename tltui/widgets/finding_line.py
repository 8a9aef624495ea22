"""The first finding of a run's diagnosis, with the key that applies the recommendation."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

from engine.diagnosis.finding import Finding, Remedy

_BETWEEN = Content("   ")


class FindingLine(Widget):
    """Shows one finding on one line, or two if it is long; hidden without a finding."""

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
        """Show a finding; the key applies ``remedy``. ``others``: number of further findings."""
        more = f" ({others} more in the report)" if others else ""
        said = Content.assemble((finding.case, "bold"), f": {finding.sentence}{more}")
        key = Content.assemble((f"{self._key}: ", "bold"), remedy.words)
        if not self.display or (said, key) != (self._finding, self._remedy):
            self._finding, self._remedy = said, key
            self.display = True
            self.refresh(layout=True)

    def clear(self) -> None:
        """Hide the line."""
        self.display = False

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, or two."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The lines for the present width."""
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        act = self._remedy.stylize(Style.from_meta({"@click": "screen.recommendation"}))
        whole = Content.assemble(self._finding, _BETWEEN, act)
        if whole.cell_length <= width:
            return [whole]
        return [self._finding.truncate(width, ellipsis=not self.app.has_class("-ascii")), act]

    @property
    def _key(self) -> str:
        """The current key of the recommendation."""
        active = (one.binding for one in self.screen.active_bindings.values())
        return next((self.app.get_key_display(one) for one in active if one.id == "workbench.advice"), "")
