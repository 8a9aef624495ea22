"""The parameter counter: trainable and frozen parameters, memory, feature cache, cost forecast."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from engine.costs.estimate import Estimate
from engine.runs.events import ParameterCounts
from tltui.freeze_plan.editor import Memory
from tltui.text import numbers as write
from tltui.text.glyphs import UNICODE, Glyphs, safe

_LONGEST_BAR = 24
_SHORTEST_BAR = 4


class ParameterCounter(Widget):
    """Shows counts with a bar, bytes of weights, gradients and optimizer state, the cache, seconds per epoch."""

    DEFAULT_CSS = """
    ParameterCounter { height: auto; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._glyphs = glyphs
        self._shown: tuple[ParameterCounts, Memory | None, int, str | None] | None = None
        self._estimate: Estimate | None = None

    def show(
        self, counts: ParameterCounts, memory: Memory | None = None, cached_bytes: int = 0, boundary: str | None = None
    ) -> None:
        """``boundary``: last layer of the frozen prefix; ``cached_bytes``: size of its cached features."""
        self._take((counts, memory, cached_bytes, boundary), self._estimate)

    def show_estimate(self, estimate: Estimate | None) -> None:
        """Show the cost forecast; None: unknown."""
        self._take(self._shown, estimate)

    def _take(
        self, shown: tuple[ParameterCounts, Memory | None, int, str | None] | None, estimate: Estimate | None
    ) -> None:
        if (shown, estimate) != (self._shown, self._estimate):
            height = len(self._lines(self.size.width))
            self._shown, self._estimate = shown, estimate
            self.refresh(layout=len(self._lines(self.size.width)) != height)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """More lines in a narrow widget."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The lines for the present width."""
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        if self._shown is None:
            return []
        counts, memory, cached_bytes, boundary = self._shown
        lines = [self._share(counts, width), *self._frozen(counts, memory, width)]
        if boundary is not None:
            lines.append(self._cache(boundary, cached_bytes, width))
        if self._estimate is not None:
            lines.append(_cost(self._estimate, width))
        return lines

    def _share(self, counts: ParameterCounts, width: int) -> Content:
        """``trainable  15.2 M of 23.7 M  ▰▰▰▰▰▱▱▱  64%``"""
        share = counts.trainable / counts.total if counts.total else 0.0
        numbers = f"{write.number(counts.trainable):>6} of {write.number(counts.total)}"
        percent = write.share(share)
        room = width - cell_len(f"trainable {numbers}    {percent}")
        length = min(room, _LONGEST_BAR)
        if length < _SHORTEST_BAR:
            return Content.assemble("trainable ", (numbers, "bold"), "  ", (percent, "bold"))
        # only all or nothing fills or empties the bar
        full = min(max(round(share * length), int(share > 0)), length - int(share < 1))
        bar = (self._glyphs.share_full * full, self._glyphs.share_empty * (length - full))
        return Content.assemble(
            "trainable ", (numbers, "bold"), "  ", (bar[0], "$text-success"), (bar[1], "$text-muted"),
            "  ", (percent, "bold"),
        )  # fmt: skip

    def _frozen(self, counts: ParameterCounts, memory: Memory | None, width: int) -> list[Content]:
        """``frozen  8.5 M  memory 278 MB: weights 95 MB, gradients 61 MB, optimizer 122 MB``, on one line or two"""
        frozen = f"frozen    {write.number(counts.frozen):>6}"
        if memory is None:
            return [Content(frozen)]
        total = f"{frozen}  memory {write.bytes(memory.total)}"
        weights = f"weights {write.bytes(memory.weights)}"
        gradients, moments = write.bytes(memory.gradients), write.bytes(memory.optimizer_state)
        in_full = f"{weights}, gradients {gradients}, optimizer {moments}"
        in_short = f"{weights}, grads {gradients}, opt {moments}"
        for parts in (in_full, in_short):
            if cell_len(f"{total}: {parts}") <= width:
                return [Content.assemble(total, (f": {parts}", "$text-muted"))]
        for parts in (in_full, in_short):
            if cell_len(parts) <= width:
                return [Content(total), Content.styled(parts, "$text-muted")]
        return [
            Content.assemble(frozen, (f"  {weights}", "$text-muted")),
            Content.styled(f"grads {gradients}, optimizer {moments}", "$text-muted"),
        ]

    def _cache(self, boundary: str, cached_bytes: int, width: int) -> Content:
        """``features cached after layer3 (402 MB)``"""
        size = write.bytes(cached_bytes)
        words = ("features cached after ", f" ({size})") if cached_bytes else ("features computed once after ", "")
        if cell_len("".join((words[0], boundary, words[1]))) > width:
            words = ("cached after ", f" ({size})") if cached_bytes else ("once after ", "")
        room = max(1, width - cell_len("".join(words)))
        return Content.styled(safe(boundary, room, self._glyphs.ellipsis).join(words), "$text-muted")


def _cost(estimate: Estimate, width: int) -> Content:
    """``about 3.1 s per epoch, first 24 s; total memory 410 MB``; with mixing, what that costs in each epoch."""
    epoch, first = (_seconds(s) for s in (estimate.epoch_seconds, estimate.first_epoch_seconds))
    once = f", first {first}" if first != epoch else ""
    memory = f"; total memory {write.bytes(estimate.memory_bytes)}"
    if estimate.mixing_seconds:
        mixing = _seconds(estimate.mixing_seconds)
        once = f", {mixing} of it because mixed images are not cached"
        short = f"{epoch} per epoch, {mixing} for mixing"
    else:
        short = f"{epoch} per epoch"
    for words in (f"about {epoch} per epoch{once}{memory}", f"about {epoch} per epoch{once}", short):
        if cell_len(words) <= width:
            break
    return Content.styled(words, "$text-muted")


def _seconds(seconds: float) -> str:
    """Two significant digits, the precision of an estimate."""
    return f"{seconds:.2g} s" if seconds < 100 else write.duration(seconds)
