"""The last column of the layer tree. A new column is a new entry of COLUMNS: tree, key and manual follow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from engine.runs.events import DeadUnits, LayerNorms, Layers
from engine.runs.state import RunState
from tltui.freeze_plan.layer_index import LayerRow
from tltui.freeze_plan.weight_origins import PART_RANDOM, Origins
from tltui.plotting.summary import lr_text
from tltui.text import numbers

_MEASURED_WIDTH = 7  # of the longest text: <.001%, 8.3e-10
_MAX_DEPTH = 50  # levels of a network; a log from elsewhere may hold a path of any length


class LayerTotals:
    """Statistics of a layer and all layers that it holds, as if they were one."""

    def __init__(self) -> None:
        self._norms: dict[str, float] = {}
        self.start_known = True
        self.dead = 0
        self.units = 0

    def add(self, layer: LayerNorms) -> None:
        """Add a layer's norms; those of disjoint weights add up as squares."""
        self.start_known = self.start_known and layer.start is not None
        for name in layer.__struct_fields__:
            self._norms[name] = math.hypot(self.norm(name), getattr(layer, name) or 0.0)

    def add_units(self, units: DeadUnits) -> None:
        """Add the channels of an activation."""
        self.dead += units.dead
        self.units += units.units

    @property
    def has_weights(self) -> bool:
        """Whether anything in it is or was trainable."""
        return bool(self._norms)

    def norm(self, name: str) -> float:
        """The norm in the field ``name`` of LayerNorms."""
        return self._norms.get(name, 0.0)


@dataclass(frozen=True)
class LayerCell:
    """Everything that a column's text may depend on.

    ``frozen``: the engine has frozen all of the layer. ``unchanged``: it compared the bits of all frozen tensors, and
    found no change. ``origin``: where the layer's initial weights come from, "" if that is not known.
    """

    row: LayerRow
    totals: LayerTotals
    frozen: bool
    unchanged: bool
    origin: str

    @property
    def zero(self) -> str:
        """The text of a frozen layer: exactly 0 once that is verified."""
        return "0" if self.unchanged else ""


@dataclass(frozen=True)
class LayerColumn:
    """``help`` is a sentence for the manual, ``width`` in cells; ``needs``: what has to be known before it is shown."""

    title: str
    help: str
    text: Callable[[LayerCell], str]
    width: int = _MEASURED_WIDTH
    needs: Literal["nothing", "statistics", "report"] = "statistics"


class LayerStats:
    """The statistics of all layers at the step of a run that was measured last."""

    def __init__(self, state: RunState, layers: Layers) -> None:
        self.step = layers.step
        self._unchanged = bool(state.epochs) and state.epochs[-1].frozen_unchanged
        self._totals: dict[str, LayerTotals] = defaultdict(LayerTotals)
        for path, layer in layers.layers.items():
            for ancestor in _with_ancestors(path):
                self._totals[ancestor].add(layer)
        for path, units in layers.dead.items():
            for ancestor in _with_ancestors(path):
                self._totals[ancestor].add_units(units)

    def totals(self, path: str) -> LayerTotals:
        """The statistics of one layer."""
        return self._totals.get(path) or LayerTotals()

    @property
    def unchanged(self) -> bool:
        """Whether the last epoch verified that no frozen tensor has changed."""
        return self._unchanged


@dataclass(frozen=True)
class LayerFacts:
    """What is known of all layers: a run's ``stats``, None in a draft, and the ``origins`` of their weights.

    ``reported``: a run reported the origins; in a draft they are expected.
    """

    stats: LayerStats | None = None
    origins: Origins = field(default_factory=dict)
    reported: bool = False

    def cell(self, row: LayerRow, *, frozen: bool) -> LayerCell:
        """The cell of one layer."""
        origin = self.origins.get(row.path, "")
        if self.stats is None:
            return LayerCell(row, LayerTotals(), frozen, False, origin)
        return LayerCell(row, self.stats.totals(row.path), frozen, self.stats.unchanged, origin)

    def has(self, column: LayerColumn) -> bool:
        """Whether ``column`` can be shown."""
        return {"nothing": True, "statistics": self.stats is not None, "report": self.reported}[column.needs]


def column_text(column: LayerColumn, row: LayerRow, facts: LayerFacts, *, frozen: bool) -> str:
    """A layer's text in ``column``; "" where it has none."""
    return column.text(facts.cell(row, frozen=frozen))


def column_title(column: LayerColumn, facts: LayerFacts) -> str:
    """The column's title, with the step that was measured; "" for the number of parameters."""
    if column is PARAMETERS:
        return ""
    return f"{column.title}, step {facts.stats.step}" if column.needs == "statistics" and facts.stats else column.title


def available_columns(facts: LayerFacts) -> list[LayerColumn]:
    """The columns that can be shown, in the order of the key that switches them."""
    return [column for column in COLUMNS if facts.has(column)]


def _parameters(cell: LayerCell) -> str:
    return numbers.number(cell.row.parameters) if cell.row.parameters else ""


def _weight_change(cell: LayerCell) -> str:
    if cell.frozen and not cell.totals.has_weights:  # one that was trainable before keeps its change
        return cell.zero
    start = cell.totals.norm("start")
    return percent(cell.totals.norm("moved") / start) if cell.totals.start_known and start else ""


def _gradient_norm(cell: LayerCell) -> str:
    if cell.frozen:
        return cell.zero
    return short(cell.totals.norm("gradient")) if cell.totals.has_weights else ""


def _relative_update(cell: LayerCell) -> str:
    if cell.frozen:
        return cell.zero
    weight = cell.totals.norm("weight")
    return short(cell.totals.norm("update") / weight) if weight else ""


def _dead_units(cell: LayerCell) -> str:
    return numbers.share(cell.totals.dead / cell.totals.units) if cell.totals.units else ""


PARAMETERS = LayerColumn(
    "parameters", "number of parameters, trainable and frozen", _parameters, width=6, needs="nothing"
)
COLUMNS = [
    PARAMETERS,
    LayerColumn("weight change since the start", "relative weight change, ‖W − W₀‖ / ‖W₀‖", _weight_change),
    LayerColumn("gradient norm", "gradient norm before clipping", _gradient_norm),
    LayerColumn("update / weights", "the last update relative to the weights", _relative_update),
    LayerColumn(
        "dead units", "ReLU or ReLU6 channels that were 0 everywhere in all images of a step", _dead_units
    ),
    LayerColumn(
        "initial weights",
        "loaded, adapted (to the input channels), resampled (to the image size), random or part random",
        lambda cell: cell.origin,
        width=len(PART_RANDOM),
        needs="report",
    ),
]  # fmt: skip


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


def _with_ancestors(path: str) -> list[str]:
    parts = path.split(".")[:_MAX_DEPTH] if path else []
    return [".".join(parts[:count]) for count in range(len(parts) + 1)]
