"""The reliability diagram as text: accuracy by confidence bin."""

from __future__ import annotations

from rich.cells import cell_len

from engine.runs.events import Evaluated
from tltui.text.glyphs import Glyphs

_HEADING = "confidence  correct"
_WIDEST_BAR = 50


def reliability_lines(evaluated: Evaluated, width: int, glyphs: Glyphs) -> list[str]:
    """A line per confidence bin: a bar as long as the accuracy, a mark at the confidence."""
    if not evaluated.reliability or evaluated.ece is None:
        return ["No calibration: predictions were non-finite."]
    room = max(10, min(_WIDEST_BAR, width - len(_HEADING) - 14))
    lines = [f"{_HEADING}  {'':{room}}  images"]
    for one in evaluated.reliability:
        bar = list("".join(glyphs.bar(one.accuracy, room)))
        assert cell_len("".join(bar)) == room
        bar[min(room - 1, round(one.confidence * room))] = glyphs.marked
        lines.append(f"{one.confidence:>10.1%}  {one.accuracy:>7.0%}  {''.join(bar)}  {one.count:>8,}")
    gap = sum(one.count * (one.accuracy - one.confidence) for one in evaluated.reliability) / evaluated.count
    verdict = "overconfident" if gap < 0 else "underconfident"
    lines += ["", f"expected calibration error {evaluated.ece:.1%}, {verdict} by {abs(gap):.1%} on average"]
    return lines
