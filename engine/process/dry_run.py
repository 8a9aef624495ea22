"""A session as a run with these settings would have it, for work that is not to become a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import RunConfig
from engine.process.run import prepare
from engine.rng import seed_everything
from engine.runs.event_log import EventLog
from engine.runs.events import Warning
from engine.runs.folder import create
from engine.runs.progress import Report
from engine.system import cpu, devices
from engine.training.control import Control
from engine.training.session import Session
from engine.warning_codes import Warn


@contextmanager
def rehearsal(config: RunConfig, report: Report, tell: Warn) -> Iterator[Session]:
    """The session with which a run would begin; of its folder nothing is left afterwards.

    ``tell`` takes a warning's code and message. Raises InputError for what can't be used, Stopped after SIGTERM or
    SIGINT, also later where ``session.control`` is asked.
    """
    with tempfile.TemporaryDirectory(prefix="tltui-") as place:
        folder = create(Path(place), config)
        log, control = EventLog(folder), Control(folder)
        log.listeners.append(lambda event: tell(event.code, event.message) if isinstance(event, Warning) else None)

        def check(activity: str, done: int, total: int, unit: str) -> None:
            control.check()
            report(activity, done, total, unit)

        cpu.set_up_processor()
        device = devices.choose_device(config.train.device)
        precisions = choose_precision(config.train.precision, device, check)
        seed_everything(config.train.seed)
        session = prepare(folder, log, control, config, *precisions, check)
        try:
            yield session
        finally:
            session.feed.close()
            log.close(0.0)
