"""The dialog that chooses a folder, archive or table of images, with a preview of its classes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from engine.config.data_paths import has_dataset_name
from engine.config.data_sources import source_of
from engine.config.tasks import TASKS
from engine.data.file_tree import DISK
from engine.data.image_files import subfolders
from engine.data.scan_results import DatasetScan
from engine.errors import InputError
from tltui.tables.dataset import balance_line, contents_line
from tltui.text.glyphs import UNICODE, Glyphs, safe
from tltui.widgets.image_folder import ImageFolder, scan
from tltui.widgets.path_input import PathInput

AskScan = Callable[[Path], Awaitable[DatasetScan]]
"""Asks the engine what the files of a dataset hold. Raises InputError."""

_TYPING = 0.1  # seconds without a key before a folder is counted: a path begins with / and holds all below it
_PAUSE = 0.4  # seconds on a folder before the engine is asked about it
_MOST_LINES = 3  # of what the engine finds
_MOST_ASKED = 20_000  # images; reading more would keep the disk busy for a glance


class FolderPicker(ModalScreen[Path | None]):
    """Type a path or walk through folders; ``enter`` chooses the previewed folder."""

    manual_topic = "data"

    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", id="folder.cancel"),
        Binding("down", "to_list", "list of folders", id="folder.list", show=False),
    ]

    def __init__(self, start: Path, glyphs: Glyphs = UNICODE, ask: AskScan | None = None) -> None:
        """``ask``: scans the dataset under the cursor, in the background; None: only files are counted."""
        super().__init__()
        self._ask = ask
        self._glyphs = glyphs
        self._found: ImageFolder | None = None
        self._counting = False
        self._input = PathInput(_as_typed(start), "path of a folder, archive or table", datasets_only=True, id="path")
        self._list = OptionList(id="folders", compact=True)
        self._summary = Static(id="summary")
        self._contents = Static(id="contents")
        self._bars = Static(id="bars")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -large") as dialog:
            dialog.border_title = Content("Choose images: a folder, archive or table")
            yield self._input
            with Horizontal(id="columns"):
                yield self._list
                with Vertical(id="preview"):
                    yield self._summary
                    yield self._contents
                    with VerticalScroll(can_focus=False):
                        yield self._bars
            yield Static("enter choose  tab complete  down list  esc cancel", classes="keys")

    def on_mount(self) -> None:
        self._input.focus()
        self._input.action_end()
        self._show_folder()

    @property
    def _path(self) -> Path:
        return Path(os.path.expanduser(self._input.value or "."))

    @on(Input.Changed)
    def _typed(self) -> None:
        self._show_folder()

    @on(Input.Submitted)
    def _entered(self) -> None:
        # a large folder may be chosen while it is counted: the engine scans it again
        if self._found is not None or self._counting:
            self.dismiss(self._path.absolute())
        else:
            self.app.bell()

    @on(OptionList.OptionSelected)
    def _walked(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == "use":
            self.dismiss(self._path.absolute())
        elif event.option.id == "..":
            self._walk_to(self._path.absolute().parent)
        elif event.option.id:
            self._walk_to(Path(event.option.id))

    def action_to_list(self) -> None:
        self._list.focus()

    def _walk_to(self, path: Path) -> None:
        self._input.value = _as_typed(path)
        self._input.action_end()

    def _show_folder(self) -> None:
        self._found = None
        self._counting = True
        path = self._path
        self._list_folders(path)
        self._bars.update("")
        self._contents.display = False
        self.workers.cancel_group(self, "scan")
        if path.is_dir() or source_of(path):
            self._summary.update(Content(f"scanning {safe(path.name or str(path))}{self._glyphs.ellipsis}"))
            self._count(path)
        else:
            self._counting = False
            self._summary.update("Not found. tab: complete the path")

    def _list_folders(self, path: Path) -> None:
        """List the folders, archives and tables in ``path``, or those that complete a partial name."""
        parent, start = (path, "") if path.is_dir() else (path.parent, path.name)
        self._list.clear_options()
        self._list.add_option(Option("choose this", id="use", disabled=True))
        self._list.add_option(Option("../", id=".."))
        try:
            names = [f"{name}/" for name in subfolders(parent)]
            names += sorted(name for name in DISK.files(parent) if has_dataset_name(name) and name[0] != ".")
        except InputError:  # the path is incomplete
            names = []
        matching = [name for name in names if name.startswith(start)]
        self._list.add_options(Option(Content(safe(name)), id=str(parent / name)) for name in matching)
        self._list.highlighted = 1

    @work(exclusive=True, group="count", exit_on_error=False)
    async def _count(self, path: Path) -> None:
        worker = get_current_worker()
        await asyncio.sleep(_TYPING)
        try:
            found: ImageFolder | InputError = await asyncio.to_thread(scan, path, lambda: worker.is_cancelled)
        except InputError as error:
            found = error
        self._show_found(path, found)

    def _show_found(self, path: Path, found: ImageFolder | InputError) -> None:
        if path != self._path:
            return
        self._counting = False
        if isinstance(found, InputError):
            self._summary.update(Content(safe(str(found))))
            return
        self._found = found
        self._list.enable_option("use")
        self._list.highlighted = 0
        has_classes = any(found.counts.values())
        balance = [balance_line(found.counts)] if has_classes else []
        self._summary.update(Content("\n".join([summary(found), *balance, *map(safe, found.findings)])))
        self._bars.update(class_bars(found, self._bars.size.width or 40, self._glyphs) if has_classes else "")
        self._scan(path, found)

    @on(OptionList.OptionHighlighted)
    def _pointed(self, event: OptionList.OptionHighlighted) -> None:
        """Say what the dataset under the list's cursor holds."""
        if not self._list.has_focus or event.option.id in ("..", None):
            return
        if event.option.id == "use":
            self._scan(self._path, self._found)
        else:
            self._scan(Path(event.option.id), None)

    @work(exclusive=True, group="scan", exit_on_error=False)
    async def _scan(self, path: Path, counted: ImageFolder | None) -> None:
        """Show what the engine finds in the files at ``path``; ``counted``: its files, where the preview has them."""
        if not self._ask:
            return
        worker = get_current_worker()
        self._contents.display = False
        await asyncio.sleep(_PAUSE)
        lines: list[str] = []
        try:
            if counted is None:
                counted = await asyncio.to_thread(scan, path, lambda: worker.is_cancelled)
                lines.append(f"{path.name}: {summary(counted)}")
            if counted.total <= _MOST_ASKED:
                found = await self._ask(path)
                lines.append(contents_line(found.summary))
                lines += [one.message for one in found.findings if one.message not in counted.findings]
        except InputError as error:
            lines = [str(error)]
        self._contents.update(Content("\n".join(map(safe, lines[:_MOST_LINES]))))
        self._contents.display = bool(lines)


def summary(found: ImageFolder) -> str:
    """Classes, labels or numbers, images and splits on one line."""
    splits = f"splits: {', '.join(found.splits)}" if found.splits else "no splits"
    return f"{TASKS[found.task].counted(len(found.counts))}, {found.total:,} images, {splits}"


def class_bars(found: ImageFolder, width: int, glyphs: Glyphs) -> Content:
    """A bar for each class, the largest first."""
    names = {name: safe(name, max(width // 3, 8), glyphs.ellipsis) for name in found.counts}
    name_width = max(map(len, names.values()))
    largest = max(found.counts.values())
    count_width = len(f"{largest:,}")
    bar_width = max(width - name_width - count_width - 3, 4)
    lines = []
    for name, count in sorted(found.counts.items(), key=lambda item: (-item[1], item[0])):
        full, empty = glyphs.bar(count / largest, bar_width)
        lines.append(
            Content.assemble(
                f"{names[name]:<{name_width}} ", (full, "$primary"), (empty, "$surface"), f" {count:>{count_width},}"
            )
        )
    return Content("\n").join(lines)


def _as_typed(path: Path) -> str:
    text = str(path)
    return text if text.endswith("/") or not path.is_dir() else f"{text}/"
