"""Numbers, sizes, shares and durations as short text."""

from __future__ import annotations


def number(n: float) -> str:
    """A count with at most three digits: 512, 9.4 k, 216 k, 1.2 M."""
    return _scaled(n, ("", " k", " M", " G", " T"))


def bytes(n: float) -> str:
    """A size in bytes, in powers of 1000: 402 MB."""
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
    """A duration: 0:41, 12:05, 3:02:10, 2 d 03:10."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02}:{minute:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def share(x: float) -> str:
    """A share, 0 to 1, in per cent. Only exactly 0 and 1 are 0% and 100%."""
    percent = 100 * x
    if 0 < percent < 1:
        return f"{percent:.1f}%" if percent >= 0.05 else "<0.1%"
    if 99 < percent < 100:
        return f"{min(percent, 99.9):.1f}%"
    return f"{percent:.0f}%"
