"""``train`` and ``resume`` under torchrun, which starts the command once per rank."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.runs.events import AnyEvent, Event, RunFinished
from engine.runs.folder import RunFolder, create
from tltui.cli.follow import JsonLines, View, say
from tltui.cli.progress_text import PlainProgress
from tltui.runs import launch, registry

if TYPE_CHECKING:
    from engine.training.distributed import Ranks


def train(runs_dir: Path, config: RunConfig, *, detach: bool, as_json: bool) -> int:
    """Train a new run; returns this rank's exit status. A refused run leaves no folder."""

    def lead(ranks: Ranks) -> int:
        if ranks.run:  # a rank died and torchrun restarted all of them
            return _train(RunFolder(ranks.run), ranks, as_json=as_json)
        folder = create(runs_dir, config)
        ranks.run = folder.path
        status = _train(folder, ranks, as_json=as_json)
        if status == 2:
            shutil.rmtree(folder.path)
        return status

    return _main(lead, detach=detach)


def resume(runs_dir: Path, name: str, changes: Mapping[str, str], *, detach: bool, as_json: bool) -> int:
    """Resume a run; returns this rank's exit status."""

    def lead(ranks: Ranks) -> int:
        folder = RunFolder(ranks.run) if ranks.run else registry.find(runs_dir, name)
        if not launch.prepare_resume(folder, {} if ranks.run else changes):
            say(f"run {folder.id} is completed")
            return 0
        ranks.run = folder.path
        return _train(folder, ranks, as_json=as_json)

    return _main(lead, detach=detach)


def _main(lead: Callable[[Ranks], int], *, detach: bool) -> int:
    from engine.process import rank

    if detach:
        raise InputError("torchrun waits for its processes; leave --detach out and put torchrun in the background")
    return rank.main(lead)


def _train(folder: RunFolder, ranks: Ranks, *, as_json: bool) -> int:
    from engine.process.worker import run_worker

    console = Console(markup=False, highlight=False)
    shown: AbstractContextManager[View] = nullcontext(JsonLines()) if as_json else PlainProgress(console, folder)
    with shown as view:

        def show(event: Event) -> None:
            with suppress(OSError):  # whoever read it has left
                view.show(cast(AnyEvent, event))
            if isinstance(event, RunFinished) and event.status == "failed":
                say(event.reason)

        return run_worker(folder, ranks, show)
