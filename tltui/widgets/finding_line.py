"""What stands out in a run, and the key that does what helps."""

from __future__ import annotations

from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from engine.experiments.rules.finding import Finding, Remedy


class FindingLine(Static):
    """One finding, on a line or two; takes no room while there is none."""

    DEFAULT_CSS = """
    FindingLine {
        height: auto;
        max-height: 2;
        padding: 0 1;
        color: $text-warning;
        link-style: none;
        link-color: $text-warning;
        link-background: $background;
        display: none;
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._shown: tuple[Finding, Remedy, int] | None = None

    def show(self, finding: Finding, remedy: Remedy, others: int) -> None:
        """``remedy`` is what the key does; ``others``: how many findings there are besides."""
        self.display = True
        if self._shown == (finding, remedy, others):
            return
        self._shown = (finding, remedy, others)
        more = f" (and {others} more in the report)" if others else ""
        act = Content.assemble((self._key, "bold"), f" {remedy.words}")
        act = act.stylize(Style.from_meta({"@click": "screen.advice"}))
        self.update(Content.assemble((finding.case, "bold"), f": {finding.sentence}{more}  ", act))

    def clear(self) -> None:
        """There is nothing to say."""
        self.display = False

    @property
    def _key(self) -> str:
        """The key in force for what helps."""
        active = (one.binding for one in self.screen.active_bindings.values())
        return next((self.app.get_key_display(one) for one in active if one.id == "workbench.advice"), "")
