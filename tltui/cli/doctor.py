"""``tltui doctor``: facts for a bug report about the terminal, devices, weights and folders."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs
from rich.console import Console

from engine.cache.folder import cache_root, used
from engine.errors import InputError
from engine.system.cpu import usable_cores
from engine.system.devices import check_libraries, choose_device, device_name, versions
from tltui.runs import registry
from tltui.text.numbers import bytes as bytes_text

Section = dict[str, str]


def examine(runs_dir: str | None) -> dict[str, Section]:
    """All facts by section: "terminal", "machine", "libraries", "weights", "folders"."""
    sections: dict[str, Callable[[], Section]] = {
        "terminal": _terminal,
        "machine": _machine,
        "libraries": versions,
        "weights": _weights,
        "folders": lambda: _folders(registry.runs_folder(runs_dir)),
    }
    return {name: look() for name, look in sections.items()}


def _terminal() -> Section:
    console = Console()
    variables = ("TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "TMUX", "STY")
    size = shutil.get_terminal_size()
    return {
        "output": "a terminal" if sys.stdout.isatty() else "no terminal: commands print plain progress",
        "size": f"{size.columns}x{size.lines}",
        "colours": console.color_system or "none",
        "encoding": sys.stdout.encoding,
        "over SSH": "yes" if "SSH_CONNECTION" in os.environ else "no",
        **{name: os.environ.get(name, "not set") for name in variables},
    }


def _machine() -> Section:
    found = {
        "system": platform.platform(),
        "processors": f"{usable_cores()} of {os.cpu_count()} usable",
        "when the last session ends": _lingering(),
    }
    try:
        check_libraries()
        device = choose_device("auto")
        return {**found, "device": f"{device} ({device_name(device)})"}
    except InputError as error:
        return {**found, "device": str(error)}


def _lingering() -> str:
    """Whether systemd kills a user's processes at log-out; a session of its own does not protect a run from that."""
    if shutil.which("loginctl") is None:
        return "processes stay (no systemd-logind)"
    command = ["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=5).stdout.strip()
    if answer == "yes":
        return "processes stay (lingering is on)"
    return "processes stay unless logind has KillUserProcesses=yes; `loginctl enable-linger` makes sure"


def _weights() -> Section:
    try:
        check_libraries()
    except InputError:
        return {}
    from engine.models.catalogue import models_like, weights_folders

    here = [entry.name for entry in models_like("") if entry.weights == "here"]
    return {"on this machine": ", ".join(here) or "none", **weights_folders()}


def _folders(runs_dir: Path) -> Section:
    existing = next(folder for folder in (runs_dir, *runs_dir.parents) if folder.exists())
    writable = "writable" if os.access(existing, os.W_OK) else "not writable"
    free = bytes_text(shutil.disk_usage(existing).free)
    return {
        "runs": f"{runs_dir} ({len(registry.folders(runs_dir))} runs, {writable}, {free} free)",
        "your keys and themes": str(platformdirs.user_config_path("tltui")),
        "cache": f"{cache_root()} ({bytes_text(used(cache_root()))})",
        "datasets": str(Path(platformdirs.user_cache_dir("tltui")) / "datasets"),
    }
