"""The settings tab of a workbench: the form, its pickers, run.toml files and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.worker import get_current_worker

from engine.config.data_sources import DATA_SOURCES
from engine.config.recipes import READY_MADE, ready_made
from engine.config.schema import RunConfig
from engine.config.tasks import AUTO, TASKS
from engine.config.toml_io import load, to_toml
from engine.errors import InputError
from engine.files.atomic import write_atomically
from tltui.engine_client.queries import EngineQueries, ProfileKey, TreeKey
from tltui.screens.dialogs import AskPath, Choose, Confirm
from tltui.settings.draft import default, to_text
from tltui.text.glyphs import Glyphs
from tltui.widgets.config_form import ConfigForm, Mode
from tltui.widgets.folder_picker import FolderPicker
from tltui.widgets.image_folder import ImageFolder, ScanCancelled, scan
from tltui.widgets.model_picker import ModelPicker

ASSUMED_CLASSES = 10
"""Classes in the layer tree of a draft whose dataset is not scanned yet."""

RULES, PHASES, TASK = "freeze.rules", "recipe.phases", "data.task"
_NO_RECIPE = "none"
_DIGITS = 1797  # scikit-learn's

_SHAPE_THE_TREE = frozenset({"model.name", "data.image_size", "data.channels", "head.hidden"})
_READ_LABELS = frozenset(
    {TASK, "data.classes", *(f"data.{key}" for entry in DATA_SOURCES.values() for key in entry.settings)}
)
_SHAPE_THE_CLASSES = frozenset({"data.source", *_READ_LABELS})
_READ_BY_PATH = frozenset(name for name, entry in DATA_SOURCES.items() if entry.reads)


class SetupPane(Vertical):
    """Wraps the form and reports what its settings mean for layer tree and costs."""

    manual_topic = "settings"

    @dataclass
    class TreeChanged(Message):
        """The settings name another layer tree."""

        tree: TreeKey

    @dataclass
    class RulesEdited(Message):
        """The freeze rules were edited in the form."""

        rules: list[str]

    @dataclass
    class CostsChanged(Message):
        """A setting changed that memory or time depends on."""

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], queries: EngineQueries, mode: Mode, glyphs: Glyphs
    ) -> None:
        super().__init__(id="setup")
        self.form = ConfigForm(tables, mode=mode, glyphs=glyphs)
        self.classes_found: int | None = None
        self.images_found: dict[str, int] | None = None
        self._task_found = "single"
        self._queries = queries
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        yield self.form

    def on_mount(self) -> None:
        if self.form.mode == "draft":
            self._show_first_phase()
            self._data_changed()

    @property
    def tree_key(self) -> TreeKey:
        """The layer tree of the settings; invalid ones count as defaults."""
        draft = self.form.draft
        hidden = draft["head.hidden"] if not draft.problem("head.hidden") else []
        size = draft["data.image_size"] if not draft.problem("data.image_size") else 0
        channels = draft["data.channels"] if not draft.problem("data.channels") else 3
        outputs = TASKS[self._predicted].outputs(self.classes_found or ASSUMED_CLASSES)
        return TreeKey(draft["model.name"], outputs, size, tuple(hidden), channels)

    @property
    def _predicted(self) -> str:
        """The task of the settings; "auto" and an invalid one are what the labels say."""
        chosen = self.form.draft[TASK]
        return chosen if chosen in TASKS else self._task_found

    @property
    def profile_key(self) -> ProfileKey:
        """The profile of the settings; invalid ones count as defaults."""
        draft = self.form.draft
        device = draft["train.device"] if not draft.problem("train.device") else "auto"
        batch_size = draft["train.batch_size"] if not draft.problem("train.batch_size") else 32
        return ProfileKey(self.tree_key, device, draft["train.precision"], batch_size)

    def replace_all(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all settings."""
        self.form.load(tables)
        self._show_first_phase()
        self._data_changed()
        self.post_message(self.RulesEdited(self.form.draft[RULES]))

    def put_rules(self, rules: list[str]) -> None:
        """Set the freeze plan; with a recipe, that of its first phase."""
        self.form.put(RULES, rules)
        self.form.note(RULES, "")
        if phases := self.form.draft[PHASES]:
            self.form.put(PHASES, [{**phases[0], "rules": rules}, *phases[1:]])

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change single settings, by key."""
        for key, value in changes.items():
            if key == RULES:
                self.put_rules(value)
            else:
                self.form.put(key, value)
        if not _SHAPE_THE_CLASSES.isdisjoint(changes):
            self._data_changed()
        elif not _SHAPE_THE_TREE.isdisjoint(changes):
            self._tree_changed()
        if RULES in changes:
            self.post_message(self.RulesEdited(self.form.draft[RULES]))
        self.post_message(self.CostsChanged())

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the form, not a field, so that letters are keys."""
        self.form.action_leave_field()
        return self

    def _show_first_phase(self) -> None:
        if phases := self.form.draft[PHASES]:
            self.form.put(RULES, phases[0]["rules"])

    def next_task(self) -> None:
        """Set data.task to the next task and say what it predicts."""
        tasks = {AUTO: "as the labels say", **{name: entry.help for name, entry in TASKS.items()}}
        names = list(tasks)
        before = self.form.draft[TASK]
        task = names[(names.index(before) + 1) % len(names)] if before in names else AUTO
        self.change({TASK: task})
        self.notify(f"{TASK}: {task}, {tasks[task]}", timeout=3, markup=False)

    @work(exclusive=True, group="recipe")
    async def choose_recipe(self) -> None:
        """Ask for a recipe and put its phases for this network into the draft."""
        known = [(name, f"{name}: {recipe.about}") for name, recipe in READY_MADE.items()]
        options = [(_NO_RECIPE, "none: one freeze plan, one learning rate"), *known]
        chosen = await self.app.push_screen_wait(Choose("Recipe: training in phases", options))
        if chosen is None:
            return
        try:
            phases = [] if chosen == _NO_RECIPE else await self._phases(chosen)
        except InputError as error:
            self.notify(str(error), title="Recipe not applied", severity="warning", markup=False)
            return
        self.form.put(PHASES, phases)
        self._show_first_phase()
        self.post_message(self.RulesEdited(self.form.draft[RULES]))
        self.notify(to_text(phases) or "no phases: one freeze plan, one learning rate", title=chosen, timeout=3)

    async def _phases(self, recipe: str) -> list[dict[str, Any]]:
        draft = self.form.draft
        tree = await self._queries.layer_tree(self.tree_key)
        epochs, lr = (
            draft[key] if not draft.problem(key) else default(key) for key in ("train.epochs", "optimizer.lr")
        )
        return ready_made(recipe, tree, epochs, lr)

    @on(ConfigForm.Changed)
    def _changed(self, event: ConfigForm.Changed) -> None:
        event.stop()
        if event.key in _SHAPE_THE_CLASSES:
            self._data_changed()
        elif event.key in _SHAPE_THE_TREE and not self.form.draft.problem(event.key):
            self._tree_changed()
        elif event.key == RULES and not self.form.draft.problem(event.key):
            self.put_rules(self.form.draft[RULES])
            self.post_message(self.RulesEdited(self.form.draft[RULES]))
        self.post_message(self.CostsChanged())

    @on(ConfigForm.Browse)
    @work
    async def _browse(self, event: ConfigForm.Browse) -> None:
        event.stop()
        if event.key == PHASES:
            self.choose_recipe()
            return
        if event.key == "data.path":
            start = Path(self.form.draft["data.path"] or Path.cwd()).expanduser()
            chosen: Path | str | None = await self.app.push_screen_wait(
                FolderPicker(start, self._glyphs, self._queries.scan)
            )
        else:
            picker = ModelPicker(self._queries, self.form.draft["model.name"], self._glyphs)
            chosen = await self.app.push_screen_wait(picker)
        if chosen is not None:
            self.form.put(event.key, str(chosen))
            self._changed(ConfigForm.Changed(event.key))

    @work(exclusive=True, group="file")
    async def save(self, config: RunConfig | None) -> None:
        """Ask for a path and write ``config`` as run.toml; None: the settings of the form."""
        try:
            text = to_toml(config or self.form.config())
        except InputError as error:
            self.notify(str(error), title="Settings not saved", severity="warning", markup=False)
            self.form.focus_first_problem()
            return
        path = await self.app.push_screen_wait(AskPath("Save settings as", Path.cwd() / "run.toml"))
        if path is None:
            return
        if (
            path.exists()
            and await self.app.push_screen_wait(
                Confirm("Replace this file?", str(path), {"no": "Keep", "yes": "Replace"})
            )
            != "yes"
        ):
            return
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            self.notify(
                f"{path}: {error.strerror}; choose another path",
                title="Settings not saved",
                severity="error",
                markup=False,
            )
        else:
            self.notify(str(path), title="Settings saved", markup=False)

    @work(exclusive=True, group="file")
    async def load_file(self) -> None:
        """Ask for a run.toml and load its settings."""
        path = await self.app.push_screen_wait(AskPath("Load settings from", Path.cwd() / "run.toml"))
        if path is not None:
            try:
                self.replace_all(load(path).model_dump())
            except InputError as error:
                self.notify(str(error), title="Settings not loaded", severity="error", markup=False)

    def _tree_changed(self) -> None:
        self.post_message(self.TreeChanged(self.tree_key))

    def _data_changed(self) -> None:
        draft = self.form.draft
        digits = draft["data.source"] == "digits"
        self.classes_found = 10 if digits else None
        self.images_found = {"": _DIGITS} if digits else None
        if draft["data.path"] and draft.resolved_source in _READ_BY_PATH:
            settings = {key.removeprefix("data."): draft[key] for key in _READ_LABELS if not draft.problem(key)}
            self._count_classes(Path(draft["data.path"]).expanduser(), settings)
        else:
            self._tree_changed()

    @work(thread=True, exclusive=True, group="classes", exit_on_error=False)
    def _count_classes(self, path: Path, settings: Mapping[str, Any]) -> None:
        worker = get_current_worker()
        try:
            found: ImageFolder | None = scan(path, lambda: worker.is_cancelled, settings)
        except InputError:  # the picker and the engine report it
            found = None
        except ScanCancelled:
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self._classes_counted, found)

    def _classes_counted(self, found: ImageFolder | None) -> None:
        self.classes_found = len(found.counts) if found else None
        self.images_found = found.split_counts if found else None
        self._task_found = found.task if found else "single"
        self._tree_changed()
        self.post_message(self.CostsChanged())
