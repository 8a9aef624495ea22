"""One of the processes that torchrun starts to train a run."""

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


def main(train_first: Callable[[Ranks], int]) -> int:
    """Train as one of several processes. Returns the exit status.

    The first process calls ``train_first``, which needs the run's folder and returns the exit status, or raises
    InputError.
    """
    # If torchrun is killed, nothing forwards signals any more: stop gracefully.
    leave_with_parent(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        check_libraries()
        from engine.training.distributed import Ranks

        ranks = Ranks.join()
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if not ranks.is_main:
        return _train_other(ranks)
    status = 1
    try:
        status = train_first(ranks)
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        status = 2
    finally:
        ranks.finish(status)
    return status


def _train_other(ranks: Ranks) -> int:
    """Train as a process other than the first, with a scratch folder in place of the run's."""
    from engine.process.run import execute_run

    with tempfile.TemporaryDirectory(prefix="tltui-") as scratch:
        folder = RunFolder(Path(scratch))
        control = Control(folder)
        control.exit_after_grace_period(lambda _signal: os._exit(130))
        ranks.exit_with_first(folder.path)
        failed: BaseException | None = None
        try:
            finished = execute_run(
                folder, EventLog(folder, is_logged=lambda _event: True), control, ReplayedLog(), ranks
            )
            if finished.status == "failed":  # in this process, or in all
                failed = TrainingFailed(finished.reason)
        except Stopped:
            pass  # in all processes
        except (InputError, RankLost) as error:
            failed = error
        except Exception as error:
            traceback.print_exc()
            failed = error
        ranks.wait_for_end(failed)
    return 1
