"""The characters that stand for a state, and how names and numbers are written everywhere in the app."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from engine.files.escapes import printable


@dataclass(frozen=True)
class Glyphs:
    """One set of characters; each field is as wide in every state as its neighbours, so that columns line up."""

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
    """From nothing to everything, for heat maps."""

    separator: str
    arrow: str
    times: str
    delta: str
    ellipsis: str

    def bar(self, share: float, width: int) -> tuple[str, str]:
        """A line that is ``share`` full, as its full and its empty part; together ``width`` characters."""
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
    """``text`` on one line with everything that could steer a terminal written out, at most ``limit`` cells wide.

    What does not fit is left out of the middle, since names of files and layers differ at both ends. Besides
    control characters this covers marks that reorder text and bytes of a file name that are no UTF-8.
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


def number(n: float) -> str:
    """A count with three digits at most: 512, 9.4 k, 216 k, 1.2 M."""
    return _scaled(n, ("", " k", " M", " G", " T"))


def bytes(n: float) -> str:
    """A size in memory or on disk, in powers of 1000: 402 MB."""
    return _scaled(n, (" B", " kB", " MB", " GB", " TB"))


def _scaled(n: float, units: tuple[str, ...]) -> str:
    value, unit = float(n), 0
    # 999.5, not 1000: 999,900 is 1.0 M and never 1000 k
    while abs(value) >= 999.5 and unit < len(units) - 1:
        value /= 1000
        unit += 1
    plain = unit == 0 or abs(value) >= 99.95
    return f"{value:.0f}{units[unit]}" if plain else f"{value:.1f}{units[unit]}"


def duration(seconds: float) -> str:
    """A span of time: 0:41, 12:05, 3:02:10, 2 d 03:10."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02}:{minute:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def share(x: float) -> str:
    """A share of one in per cent; 0% and 100% are said only of exactly nothing and of all."""
    percent = 100 * x
    if 0 < percent < 1:
        return f"{percent:.1f}%" if percent >= 0.05 else "<0.1%"
    if 99 < percent < 100:
        return f"{min(percent, 99.9):.1f}%"
    return f"{percent:.0f}%"
