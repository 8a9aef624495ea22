"""One of the processes that torchrun starts to train one run together."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, RankLost, TrainingFailed
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder
from engine.runs.replay import ReplayedLog
from engine.runs.stopped import Stopped
from engine.system.devices import check_libraries
from engine.system.process_signals import leave_with_parent
from engine.training.control import Control

if TYPE_CHECKING:
    from engine.training.distributed import Ranks


def main(lead: Callable[[Ranks], int]) -> int:
    """Train, as one of several; returns the exit status.

    ``lead`` is called in the first process, the only one that needs the run's folder: it trains, and returns the exit
    status, or raises InputError.
    """
    # Where torchrun is killed nobody passes signals on any more: stop gracefully.
    leave_with_parent(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        check_libraries()
        from engine.training.distributed import Ranks

        ranks = Ranks.join()
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if not ranks.first:
        return _go_along(ranks)
    status = 1
    try:
        status = lead(ranks)
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        status = 2
    finally:
        ranks.end(status)
    return status


def _go_along(ranks: Ranks) -> int:
    """Train without a folder of the run: what is written goes to one that nobody reads, and is removed."""
    from engine.process.run import carry_out

    with tempfile.TemporaryDirectory(prefix="tltui-") as scratch:
        folder = RunFolder(Path(scratch))
        control = Control(folder)
        control.see_to_it(lambda _signal: os._exit(130))
        ranks.leave_with_first(folder.path)
        failed: BaseException | None = None
        try:
            finished = carry_out(folder, EventLog(folder, is_logged=lambda _event: True), control, ReplayedLog(), ranks)
            if finished.status == "failed":  # here alone, or in all
                failed = TrainingFailed(finished.reason)
        except Stopped:
            pass  # in all
        except (InputError, RankLost) as error:
            failed = error
        except Exception as error:
            traceback.print_exc()
            failed = error
        ranks.wait_for_end(failed)
    return 1
