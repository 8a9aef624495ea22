"""Which layers of a network are open, and so which rows of its tree are in view. Knows no Textual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tltui.freeze_plan.layer_index import LayerRow


class ExpandedLayers:
    """The rows in view, from top to bottom. ``rows`` have each layer before those that it holds."""

    def __init__(self, rows: Mapping[str, LayerRow]) -> None:
        self._rows = rows
        self._open: set[str] = set()
        self.paths: list[str] = []
        self._places: dict[str, int] = {}
        self.open_to_depth(1)

    def is_open(self, path: str) -> bool:
        """Whether what the layer holds is in view where the layer is."""
        return path in self._open

    def place(self, path: str) -> int:
        """Where the layer's row is; of one that is hidden, the row of the closed layer that hides it."""
        return self._places[next(above for above in [path, *reversed(self.above(path))] if above in self._places)]

    def above(self, path: str) -> list[str]:
        """The layers that hold this one, outermost first."""
        above: list[str] = []
        while (parent := self._rows[path].parent) is not None:
            above.insert(0, parent)
            path = parent
        return above

    def open(self, paths: Iterable[str]) -> None:
        """Open layers; those that hold nothing have nothing to open."""
        self._open.update(path for path in paths if self._rows[path].children)
        self._look()

    def close(self, paths: Iterable[str]) -> None:
        """Close layers."""
        self._open.difference_update(paths)
        self._look()

    def open_to_depth(self, depth: int) -> None:
        """Open all layers down to this many levels, and close those below."""
        self._open = {path for path, row in self._rows.items() if row.children and row.depth < depth}
        self._look()

    def open_what_fits(self, height: int) -> None:
        """Open as many levels as ``height`` rows have room for, the first in any case."""
        depths = [row.depth for row in self._rows.values()]
        fitting = [depth for depth in range(1, max(depths) + 1) if sum(d <= depth for d in depths) <= height]
        self.open_to_depth(max(fitting, default=1))

    def _look(self) -> None:
        self.paths = []
        closed_at: int | None = None
        for path, row in self._rows.items():
            if closed_at is None or row.depth <= closed_at:
                self.paths.append(path)
                closed_at = row.depth if row.children and path not in self._open else None
        self._places = {path: place for place, path in enumerate(self.paths)}
