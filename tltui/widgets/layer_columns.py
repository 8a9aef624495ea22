"""The layout of a row of the layer tree in columns, for any width. Knows no Textual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from tltui.freeze_plan.layer_index import LayerRow
from tltui.text.glyphs import Glyphs, safe

INDENT = 2
_ICON = 2
_GAP = 2
_MAX_FIRST = 20
_MIN_DETAIL = 6


@dataclass(frozen=True, slots=True)
class Cells:
    """The texts of one row; with the indentation exactly as wide as the tree."""

    icon: str
    state: str
    name: str
    detail: str
    count: str
    pending: str


@dataclass(frozen=True)
class Columns:
    """The columns of a tree of ``width`` cells.

    ``name`` includes indentation, icon and state; a longer name shortens the detail beside it. The detail is the
    type and, where there is room, the output shape at its right end.
    """

    width: int
    name: int
    detail: int
    count: int
    glyphs: Glyphs

    @classmethod
    def fit(cls, rows: Iterable[LayerRow], width: int, glyphs: Glyphs, count: int) -> Columns:
        """Columns that fit all ``rows``, visible or not, so that nothing moves when a layer is expanded.

        ``count`` is the width of the last column.

        ``count``: width of the last column. The network's name is ignored: its row has no other text.
        """
        rows = list(rows)
        mark = cell_len(glyphs.pending)
        ends = {row.path: _start(row, mark) + cell_len(safe(row.name)) for row in rows if row.parent is not None}
        first = max((ends[row.path] for row in rows if row.depth == 1), default=0)
        detail_width = max(cell_len(_kind(row, glyphs)) + _GAP + cell_len(_shape(row, glyphs)) for row in rows)
        free = max(0, width - _GAP - count - 1 - mark)
        longest = max(ends.values(), default=0)
        name = min(longest + _GAP, max(min(first, _MAX_FIRST) + 1, free - detail_width))
        return cls(width, name, min(max(0, free - name), detail_width), count, glyphs)

    def cells(self, row: LayerRow, icon: str, state: str, count: str, pending: str) -> Cells:
        """The texts of one row."""
        mark = cell_len(self.glyphs.pending)
        start, end = _start(row, mark), self.name + self.detail
        name = safe(row.name, max(1, end - start), self.glyphs.ellipsis)
        detail_start = min(max(self.name, start + cell_len(name) + 1), end)
        rest = self.width - end - _GAP - self.count
        return Cells(
            icon=set_cell_size(icon, _ICON),
            state=set_cell_size(state, mark + 1),
            name=set_cell_size(name, detail_start - start),
            detail=self._detail(row, end - detail_start),
            count=_right(count, _GAP + self.count),
            pending=set_cell_size(f" {pending}", max(0, rest)),
        )

    def _detail(self, row: LayerRow, width: int) -> str:
        kind, shape = _kind(row, self.glyphs), _shape(row, self.glyphs)
        if width < _MIN_DETAIL:
            return " " * width
        if cell_len(kind) + 1 + cell_len(shape) > width:
            return set_cell_size(safe(kind, width, self.glyphs.ellipsis), width)
        return kind + _right(shape, width - cell_len(kind))


def _start(row: LayerRow, mark: int) -> int:
    """The column where the name begins."""
    return INDENT * row.depth + _ICON + mark + 1


def _kind(row: LayerRow, glyphs: Glyphs) -> str:
    kind = safe(row.kind).replace("×", glyphs.times)
    return f"{kind} {glyphs.arrow} {row.shape[-1]}" if row.in_head and row.parameters and row.shape else kind


def _shape(row: LayerRow, glyphs: Glyphs) -> str:
    return "new" if row.in_head and row.parameters else row.shape_text.replace("×", glyphs.times)


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text
