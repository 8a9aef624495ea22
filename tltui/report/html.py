"""A report as one self-contained HTML file. All names and texts of the run are escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from engine.files.escapes import printable
from tltui.plotting import axes
from tltui.report.parts import Chart, Code, Heading, Line, Paragraph, Part, Table, Thumbnails

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --train: #2a78d6; --val: #d9822b; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: .8rem 0; display: block; overflow-x: auto; }
td, th { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
.facts td { text-align: left; white-space: normal; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: 4px; }
figure { display: inline-block; width: 170px; margin: .3rem; vertical-align: top; font-size: .75rem; }
figcaption { overflow-wrap: anywhere; }
figure img { max-width: 100%; image-rendering: auto; }
svg { width: 100%; max-width: 44rem; height: auto; } svg text { font-size: 11px; fill: currentColor; }
.train { stroke: var(--train); fill: var(--train); } .val { stroke: var(--val); fill: var(--val); }
polyline { fill: none !important; stroke-width: 1.5; } .tick { stroke: var(--line); }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 700, 220, 52, 24


def page(title: str, parts: Iterable[Part]) -> str:
    """The whole file."""
    body = "\n".join(_part(part, first=at == 0) for at, part in enumerate(parts))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _part(part: Part, *, first: bool) -> str:
    match part:
        case Heading(text):
            return f"<h1>{_text(text)}</h1>" if first else f"<h2>{_text(text)}</h2>"
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Table():
            return _table(part)
        case Chart():
            return _chart(part)
        case Thumbnails(images):
            return "".join(
                f"<figure>{_image(one.png)}<figcaption>{_text(one.caption)}</figcaption></figure>" for one in images
            )


def _table(table: Table) -> str:
    facts = ' class="facts"' if not any(table.columns) else ""
    head = "" if facts else f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in table.columns)}</tr>"
    rows = []
    for at, row in enumerate(table.rows):
        shades = table.shades[at] if table.shades else [0.0] * len(row)
        cells = (f"<td{_shade(shade)}>{_text(cell)}</td>" for cell, shade in zip(row, shades, strict=True))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table{facts}>{head}{''.join(rows)}</table>"


def _shade(shade: float) -> str:
    if not shade:
        return ""
    colour = "60,160,90" if shade > 0 else "200,70,60"
    return f' style="background:rgba({colour},{min(1.0, abs(shade)) * 0.6:.2f})"'


def _chart(chart: Chart) -> str:
    points = [point for line in chart.lines for point in line.points]
    if not points:
        return ""
    highest = max(x for x, _ in points)
    lowest_y, highest_y = min(y for _, y in points), max(y for _, y in points)
    y_axis = axes.percent(lowest_y, highest_y, 5) if chart.title == "accuracy" else axes.linear(lowest_y, highest_y, 5)
    span_x, span_y = highest or 1.0, (y_axis.high - y_axis.low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (_WIDTH - _LEFT - 8) * x / span_x
        return right, (_HEIGHT - _BOTTOM) * (1 - (y - y_axis.low) / span_y) * 0.94 + 8

    ticks = []
    for value, label in y_axis.ticks:
        _, down = place(0, value)
        ticks.append(f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH}" y1="{down:.1f}" y2="{down:.1f}"/>')
        ticks.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{_text(label)}</text>')
    ends = f'<text x="{_LEFT}" y="{_HEIGHT - 4}">epoch 0</text>'
    ends += f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 4}" text-anchor="end">{highest:g}</text>'
    drawn = "".join(_line(line, [place(*point) for point in line.points]) for line in chart.lines)
    legend = " ".join(f'<tspan class="{line.name}" stroke="none">{_text(line.name)}</tspan>' for line in chart.lines)
    title = f'<text x="{_LEFT + 8}" y="14">{_text(chart.title)}: {legend}</text>'
    label = _text(f"{chart.title} over {highest:g} epochs")
    inside = "".join([*ticks, ends, drawn, title])
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{inside}</svg>'


def _line(line: Line, places: Sequence[tuple[float, float]]) -> str:
    if line.dots:
        return "".join(f'<circle class="{line.name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{line.name}" points="{points}"/>'


def _image(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">' if png else ""


def _text(text: str) -> str:
    return html.escape(printable(text))
