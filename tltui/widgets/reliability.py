"""How far the network's confidence can be believed, as bars that a terminal of any kind shows."""

from __future__ import annotations

from rich.cells import cell_len

from engine.runs.events import Evaluated
from tltui.text.glyphs import Glyphs

_HEADING = "confidence  right"
_WIDEST_BAR = 50


def reliability_lines(evaluated: Evaluated, width: int, glyphs: Glyphs) -> list[str]:
    """A line for each bin of confidence: a bar as long as the share that is right, a mark where it should end."""
    if not evaluated.reliability or evaluated.ece is None:
        return ["The answers were not finite: there is no confidence to compare with."]
    room = max(10, min(_WIDEST_BAR, width - len(_HEADING) - 14))
    lines = [f"{_HEADING}  {'':{room}}  images"]
    for one in evaluated.reliability:
        bar = list("".join(glyphs.bar(one.accuracy, room)))
        assert cell_len("".join(bar)) == room
        bar[min(room - 1, round(one.confidence * room))] = glyphs.marked
        lines.append(f"{one.confidence:>10.1%}  {one.accuracy:>5.0%}  {''.join(bar)}  {one.count:>8,}")
    gap = sum(one.count * (one.accuracy - one.confidence) for one in evaluated.reliability) / evaluated.count
    verdict = "overconfident" if gap < 0 else "underconfident"
    lines += ["", f"expected calibration error {evaluated.ece:.1%}, on the whole {verdict} by {abs(gap):.1%}"]
    return lines
