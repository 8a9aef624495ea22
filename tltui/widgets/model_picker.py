"""The dialog that chooses a network by name, size, accuracy and local weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from engine.errors import InputError
from tltui.engine_client.queries import EngineQueries, NetworkEntry
from tltui.text import numbers as writing
from tltui.text.glyphs import UNICODE, Glyphs, safe

_MOST_SHOWN = 300
_ORDERS = ("local weights first", "most accurate first", "smallest first", "by name")
_WEIGHTS = {"here": "local", "download": "to download", "none": "none"}


class ModelPicker(ModalScreen[str | None]):
    """Type to filter, up and down to move, ``enter`` to choose."""

    manual_topic = "models"

    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", id="network.cancel"),
        Binding("down", "move(1)", "next", id="network.next", show=False),
        Binding("up", "move(-1)", "previous", id="network.previous", show=False),
        Binding("pagedown", "move(10)", "ten down", id="network.ten_down", show=False),
        Binding("pageup", "move(-10)", "ten up", id="network.ten_up", show=False),
        Binding("f6", "reorder", "next sort order", id="network.reorder"),
    ]

    def __init__(self, queries: EngineQueries, current: str, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self._queries = queries
        self._current = current
        self._glyphs = glyphs
        self._networks: list[NetworkEntry] = []
        self._shown: list[NetworkEntry] = []
        self._timm_is_listed = False
        self._order = 0
        self._input = Input(placeholder="part of a name, e.g. resnet", compact=True, id="search")
        self._table: DataTable[Content | str] = DataTable(cursor_type="row", id="networks", cell_padding=1)
        self._table.can_focus = False
        self._status = Static(id="summary")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content("Choose a network")
            yield self._input
            yield self._status
            yield self._table
            yield Static("enter choose  up, down move  F6 sort  esc cancel", classes="keys")

    def on_mount(self) -> None:
        name_width = min(max(self.app.size.width - 52, 20), 50)
        for title, width in (("network", name_width), ("parameters", 10), ("ImageNet", 8), ("weights", 11)):
            self._table.add_column(title, width=width)
        self._status.update(Content(f"listing networks{self._glyphs.ellipsis}"))
        self._input.focus()
        self._ask()

    @work(exclusive=True, exit_on_error=False)
    async def _ask(self) -> None:
        for family in ("", "timm/"):
            try:
                self._networks = [*self._networks, *await self._queries.networks(family)]
            except InputError as error:
                said = f"{safe(str(error))}\nType a name; enter: use it"
                self._status.update(Content(said))
                return
            self._timm_is_listed = bool(family)
            self._show()

    @on(Input.Changed)
    def _show(self) -> None:
        words = self._input.value.lower().split()
        fitting = [network for network in self._networks if all(word in network.name.lower() for word in words)]
        fitting.sort(key=_ORDER_KEYS[self._order])
        self._shown = fitting[:_MOST_SHOWN]
        self._table.clear()
        self._table.add_rows(map(self._row, self._shown))
        names = [network.name for network in self._shown]
        if self._current in names:
            self._table.move_cursor(row=names.index(self._current))
        if self._networks:
            more = f", {len(fitting) - _MOST_SHOWN} more: type to filter" if len(fitting) > _MOST_SHOWN else ""
            coming = "" if self._timm_is_listed else f" (listing timm{self._glyphs.ellipsis})"
            count = f"{len(fitting)} of {len(self._networks)}{coming}, {_ORDERS[self._order]}{more}"
            self._status.update(Content(count))

    @on(Input.Submitted)
    def _chosen(self) -> None:
        if self._shown:
            self.dismiss(self._shown[self._table.cursor_row].name)
        elif self._input.value.strip() and not self._networks:
            self.dismiss(self._input.value.strip())
        else:
            self.app.bell()

    @on(events.Click, "#networks")
    def _clicked(self) -> None:
        self._input.focus()

    def action_move(self, by: int) -> None:
        if self._shown:
            self._table.move_cursor(row=min(max(self._table.cursor_row + by, 0), len(self._shown) - 1))

    def action_reorder(self) -> None:
        self._order = (self._order + 1) % len(_ORDERS)
        self._show()

    def _row(self, network: NetworkEntry) -> Iterable[Content | str]:
        return (
            Content(safe(network.name, self._table.ordered_columns[0].width)),
            writing.number(network.parameters) if network.parameters else "",
            f"{100 * network.accuracy:.1f}%" if network.accuracy else "",
            _WEIGHTS.get(network.weights, network.weights),
        )


_ORDER_KEYS = (
    lambda n: (n.weights != "here", n.name.startswith("timm/"), n.name),
    lambda n: (-(n.accuracy or 0), n.name),
    lambda n: (n.parameters or float("inf"), n.name),
    lambda n: n.name,
)
