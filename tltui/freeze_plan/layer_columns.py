"""What layers do, as texts for the layer tree: from the last look at them and the last proof of freezing. No torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from engine.runs.events import DeadUnits, LayerFigures, Layers
from engine.runs.state import RunState
from tltui.plotting.summary import lr_text
from tltui.text import numbers as write

WIDTH = 7
"""Of the longest text: <.001%, 8.3e-10."""

_DEEPEST = 50  # levels of a network; a log from elsewhere may hold a path of any length


@dataclass(frozen=True)
class Figure:
    """One thing that can be said of a layer. ``zero``: it is nothing where a layer is frozen."""

    title: str
    text: Callable[[_Whole], str]
    zero: bool = True


class _Whole:
    """All figures of a layer and of what it holds, as if it were one."""

    def __init__(self) -> None:
        self._norms: dict[str, float] = {}
        self.start_known = True
        self.dead = 0
        self.units = 0

    def add(self, layer: LayerFigures) -> None:
        """Norms of parts that have nothing in common add up as squares."""
        self.start_known = self.start_known and layer.start is not None
        for name in layer.__struct_fields__:
            self._norms[name] = math.hypot(self.norm(name), getattr(layer, name) or 0.0)

    def add_units(self, units: DeadUnits) -> None:
        """Units of one more activation."""
        self.dead += units.dead
        self.units += units.units

    @property
    def has_weights(self) -> bool:
        """Whether anything in it trains or has trained."""
        return bool(self._norms)

    def norm(self, name: str) -> float:
        """Of one kind of figure."""
        return self._norms.get(name, 0.0)


def _change(whole: _Whole) -> str:
    start = whole.norm("start")
    return percent(whole.norm("moved") / start) if whole.start_known and start else ""


def _gradient(whole: _Whole) -> str:
    return short(whole.norm("gradient")) if whole.has_weights else ""


def _update(whole: _Whole) -> str:
    weight = whole.norm("weight")
    return short(whole.norm("update") / weight) if weight else ""


def _dead(whole: _Whole) -> str:
    return write.share(whole.dead / whole.units) if whole.units else ""


FIGURES = (
    Figure("weight change since the start", _change),
    Figure("gradient norm", _gradient),
    Figure("update / weights", _update),
    Figure("dead units", _dead, zero=False),
)


class LayersAtWork:
    """The last look that a run's engine had at its layers."""

    def __init__(self, state: RunState, layers: Layers) -> None:
        self._step = layers.step
        self._proven = bool(state.epochs) and state.epochs[-1].frozen_unchanged
        self._wholes: dict[str, _Whole] = defaultdict(_Whole)
        for path, layer in layers.layers.items():
            for above in _with_all_above(path):
                self._wholes[above].add(layer)
        for path, units in layers.dead.items():
            for above in _with_all_above(path):
                self._wholes[above].add_units(units)

    def title(self, figure: Figure) -> str:
        """What the column says, and as of when."""
        return f"{figure.title}, step {self._step}"

    def text(self, figure: Figure, path: str, *, frozen: bool) -> str:
        """The figure of one layer; "" where there is none.

        What is frozen has exactly 0 once the engine has proven, bit by bit, that nothing frozen has changed; but it
        keeps the change from when it trained.
        """
        whole = self._wholes.get(path) or _Whole()
        if figure.zero and frozen and not (whole.has_weights and figure.text is _change):
            return "0" if self._proven else ""
        return figure.text(whole)


def percent(share: float) -> str:
    """A share with two digits, "0" for exactly nothing: 0.012%, 3.4%, 120%."""
    if share == 0:
        return "0"
    if share < 1e-5:
        return "<.001%"
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.0f}%"


def short(number: float) -> str:
    """Two digits, "0" for exactly nothing: 12, 0.83, 8.3e-5."""
    if number == 0 or not math.isfinite(number):
        return f"{number:.0f}"
    return f"{number:.2g}" if 1e-3 <= number < 99.5 else lr_text(number)


def _with_all_above(path: str) -> list[str]:
    parts = path.split(".")[:_DEEPEST] if path else []
    return [".".join(parts[:count]) for count in range(len(parts) + 1)]
