"""The expanded layers of the tree, and the rows that they make visible. Knows no Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tltui.freeze_plan.layer_index import LayerRow


class ExpandedLayers:
    """The visible rows, from top to bottom. ``rows`` have each layer before those that it holds."""

    def __init__(self, rows: Mapping[str, LayerRow]) -> None:
        self._rows = rows
        self._open: set[str] = set()
        self.paths: list[str] = []
        self._places: dict[str, int] = {}
        self.open_to_depth(1)

    def is_open(self, path: str) -> bool:
        """Whether the layer is expanded."""
        return path in self._open

    def place(self, path: str) -> int:
        """The index of the layer's row; of a hidden layer, that of the collapsed layer that hides it."""
        return self._places[next(above for above in [path, *reversed(self.above(path))] if above in self._places)]

    def above(self, path: str) -> list[str]:
        """The layers that hold this one, outermost first."""
        above: list[str] = []
        while (parent := self._rows[path].parent) is not None:
            above.insert(0, parent)
            path = parent
        return above

    def open(self, paths: Iterable[str]) -> None:
        """Expand layers; those without children are ignored."""
        self._open.update(path for path in paths if self._rows[path].children)
        self._refresh()

    def close(self, paths: Iterable[str]) -> None:
        """Collapse layers."""
        self._open.difference_update(paths)
        self._refresh()

    def open_to_depth(self, depth: int) -> None:
        """Expand ``depth`` levels, and collapse those below."""
        self._open = {path for path, row in self._rows.items() if row.children and row.depth < depth}
        self._refresh()

    def open_what_fits(self, height: int) -> None:
        """Expand as many levels as fit into ``height`` rows, at least one."""
        depths = [row.depth for row in self._rows.values()]
        fitting = [depth for depth in range(1, max(depths) + 1) if sum(d <= depth for d in depths) <= height]
        self.open_to_depth(max(fitting, default=1))

    def _refresh(self) -> None:
        self.paths = []
        closed_at: int | None = None
        for path, row in self._rows.items():
            if closed_at is None or row.depth <= closed_at:
                self.paths.append(path)
                closed_at = row.depth if row.children and path not in self._open else None
        self._places = {path: place for place, path in enumerate(self.paths)}
