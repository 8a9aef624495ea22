"""``tltui new``: writes a commented run.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import data_paths
from engine.config.recipes import ready_made
from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, to_toml, with_setting
from engine.data.label_table import write_label_table
from engine.errors import InputError
from tltui.freeze_plan.known_network import layer_tree

_CLASSES = 1000  # only the stages matter here; `tltui inspect` caches the tree for as many


def new_config(data: str | None, model: str | None, recipe: str | None, folder: Path) -> str:
    """A commented run.toml for ``folder``; ``data`` is a folder, an archive or a table, ``recipe`` a recipe's name.

    Raises InputError.
    """
    tables: dict[str, Any] = {"data": {"path": "photos/"}}
    if data is not None:
        path = Path(data).expanduser()
        if not data_paths.exists(path):
            raise InputError(f"{data}: there is no such folder or file; --data takes the one with your images")
        tables["data"] = {"path": _from(path, folder)}
    if model is not None:
        tables["model"] = {"name": model}
    config = from_tables(tables)
    return to_toml(_with_recipe(config, recipe) if recipe else config)


def write_labels(data: str | None, pattern: str, folder: Path, config: Path) -> str:
    """Writes labels.csv into ``folder`` from the file names in ``data``; returns its path. Raises InputError.

    Nothing is written where ``config``, which is to be written next, exists already.
    """
    if data is None or not Path(data).expanduser().is_dir():
        raise InputError("--label-from takes the classes from the file names in a folder; name it with --data")
    if config.exists():
        raise InputError(f"{config}: is there already; choose another file with -o")
    table = folder / "labels.csv"
    write_label_table(Path(data).expanduser(), pattern, table)
    return str(table)


def _with_recipe(config: RunConfig, name: str) -> RunConfig:
    tree = layer_tree(config.model.name, _CLASSES, config.data.image_size, config.head, config.data.channels)
    return with_setting(config, "recipe.phases", ready_made(name, tree, config.train.epochs, config.optimizer.lr))


def _from(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``: relative if it lies below, so that both can be moved."""
    whole, base = path.resolve(), folder.resolve()
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
