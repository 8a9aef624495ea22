"""A session as a new run would have it, for experiments that create no run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import RunConfig
from engine.process.session_setup import set_up_session
from engine.rng import seed_everything
from engine.runs.event_log import EventLog
from engine.runs.events import Warning
from engine.runs.folder import create
from engine.runs.progress import Report
from engine.system import cpu, devices
from engine.training.control import Control
from engine.training.run_context import RunContext
from engine.training.session import Session
from engine.warning_codes import Warn


@contextmanager
def dry_run(config: RunConfig, report: Report, warn: Warn) -> Iterator[Session]:
    """The session with which a run would begin. Its folder is temporary.

    Raises InputError for bad input, and Stopped after SIGTERM or SIGINT, later too where ``session.context.control`` is
    checked.
    """
    with tempfile.TemporaryDirectory(prefix="tltui-") as parent:
        folder = create(Path(parent), config)
        log, control = EventLog(folder), Control(folder)
        log.listeners.append(lambda event: warn(event.code, event.message) if isinstance(event, Warning) else None)

        def check_and_report(activity: str, done: int, total: int, unit: str) -> None:
            control.check()
            report(activity, done, total, unit)

        cpu.set_up_processor()
        device = devices.choose_device(config.train.device)
        precisions = choose_precision(config.train.precision, device, check_and_report)
        seed_everything(config.train.seed)
        session = set_up_session(RunContext(folder, log, control, check_and_report), config, *precisions)
        try:
            yield session
        finally:
            session.loader.close()
            log.close(0.0)
