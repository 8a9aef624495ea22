"""Writing a config to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import from_tables, to_toml
from engine.errors import InputError


def new_config(data: str | None, model: str | None, folder: Path) -> str:
    """A commented run.toml that will lie in ``folder``; ``data`` is a folder or a csv file. Raises InputError."""
    tables: dict[str, Any] = {"data": {"path": "photos/"}}
    if data is not None:
        path = Path(data).expanduser()
        if not path.exists():
            raise InputError(f"{data}: there is no such folder or file; --data takes the one with your pictures")
        tables["data"] = {"source": "folder" if path.is_dir() else "csv", "path": _from(path, folder)}
    if model is not None:
        tables["model"] = {"name": model}
    return to_toml(from_tables(tables))


def _from(path: Path, folder: Path) -> str:
    """``path`` as a config in ``folder`` names it: relative where it lies below, so that both can be moved."""
    whole, base = path.resolve(), folder.resolve()
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
