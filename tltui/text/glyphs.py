"""The characters of states, bars and marks, and names made safe for a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from engine.files.escapes import printable


@dataclass(frozen=True)
class Glyphs:
    """One set of characters. Those of one group have the same width, so that columns line up."""

    trainable: str
    frozen: str
    mixed: str
    pending: str

    running: str
    queued: str
    paused: str
    done: str
    stopped: str
    failed: str
    lost: str
    marked: str

    expanded: str
    collapsed: str
    cursor: str

    bar_full: str
    bar_half: str
    bar_empty: str
    share_full: str
    share_empty: str
    shades: str
    """From 0 to 1, for heat maps."""

    separator: str
    arrow: str
    times: str
    delta: str
    ellipsis: str

    def bar(self, share: float, width: int) -> tuple[str, str]:
        """A bar filled to ``share``, 0 to 1, as its full and its empty part; together ``width`` characters."""
        halves = round(min(max(share, 0.0), 1.0) * width * 2)
        full = self.bar_full * (halves // 2) + (self.bar_half if halves % 2 else "")
        return full, self.bar_empty * (width - len(full))


UNICODE = Glyphs(
    trainable="●",
    frozen="○",
    mixed="◐",
    pending="◌",
    running="●",
    queued="○",
    paused="‖",
    done="✓",
    stopped="■",
    failed="✗",
    lost="?",
    marked="◆",
    expanded="▾",
    collapsed="▸",
    cursor="›",
    bar_full="━",
    bar_half="╸",
    bar_empty="─",
    share_full="▰",
    share_empty="▱",
    shades=" ░▒▓█",
    separator="·",
    arrow="→",
    times="×",
    delta="Δ",
    ellipsis="…",
)


ASCII = Glyphs(
    trainable="[T]",
    frozen="[F]",
    mixed="[~]",
    pending="[?]",
    running=">",
    queued=".",
    paused="=",
    done="+",
    stopped="#",
    failed="x",
    lost="?",
    marked="*",
    expanded="v",
    collapsed=">",
    cursor=">",
    bar_full="=",
    bar_half=">",
    bar_empty="-",
    share_full="#",
    share_empty=".",
    shades=" .:*#",
    separator="|",
    arrow="->",
    times="x",
    delta="d",
    ellipsis="..",
)


def safe(text: str, limit: int = 0, ellipsis: str = UNICODE.ellipsis) -> str:
    """``text`` on one line with control characters escaped, at most ``limit`` cells wide (0: any width).

    The middle is cut, since names of files and layers differ at both ends. Marks that reorder text and bytes that
    are no UTF-8 are escaped too.
    """
    visible = printable(text)
    if limit <= 0 or cell_len(visible) <= limit:
        return visible
    if limit <= cell_len(ellipsis):
        return ellipsis[:limit]
    rest = limit - cell_len(ellipsis)
    start = set_cell_size(visible, rest - rest // 2)
    end = set_cell_size(visible[::-1], rest // 2)[::-1]
    return f"{start}{ellipsis}{end}"
