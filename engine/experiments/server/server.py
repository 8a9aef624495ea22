"""``python -m engine.experiments.server.server EXPERIMENT``: runs an experiment, so that the app stays responsive.

Reads a run's settings as JSON from standard input. Writes JSON lines (``Line``) to standard output. Ends gracefully on
SIGTERM and on a closed pipe.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables
from engine.errors import InputError, TrainingFailed, first_line
from engine.experiments.lr_range_test.curve import RangeTestStep
from engine.experiments.server.json_lines import Line, ProbeLine, RatesLine
from engine.process.worker import lower_priority
from engine.runs.progress import Report, Throttled
from engine.runs.stopped import Stopped
from engine.system.devices import check_libraries
from engine.warning_codes import Warn, WarningCode

Write = Callable[[Line[Any]], None]


def _range_test(config: RunConfig, report: Report, warn: Warn, write: Write) -> RatesLine:
    from engine.experiments.lr_range_test.range_test import run_lr_range_test

    def on_step(tried: RangeTestStep) -> None:
        write(RatesLine(activity="lr_find", done=tried.done, total=tried.total, tried=tried))

    return RatesLine(found=run_lr_range_test(config, report, on_step, warn))


def _probe(config: RunConfig, report: Report, warn: Warn, _write: Write) -> ProbeLine:
    from engine.experiments.linear_probe.probe import run_linear_probe

    return ProbeLine(found=run_linear_probe(config, [config.model.name], report, warn))


EXPERIMENTS = {"lr-find": _range_test, "probe": _probe}


def main(experiment: str) -> int:
    """Run an experiment; returns the exit status: 0, or 130 after SIGTERM."""
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print to stdout

    def write(line: Line[Any]) -> None:
        lines.write(msgspec.json.encode(line) + b"\n")
        lines.flush()

    def report(activity: str, done: int, total: int, _unit: str) -> None:
        write(Line(activity=activity, done=done, total=total))

    def warn(_code: WarningCode, message: str) -> None:
        write(Line(warning=message))

    try:
        config = from_tables(json.load(sys.stdin))
        check_libraries()
        write(EXPERIMENTS[experiment](config, Throttled(report), warn, write))
    except Stopped:
        return 130
    except BrokenPipeError:  # the reader is gone
        return 0
    except (InputError, TrainingFailed) as error:
        write(Line(error=str(error)))
    except Exception as error:
        traceback.print_exc()
        write(Line(error=f"{type(error).__name__}: {first_line(error)}"))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    lower_priority()
    sys.exit(main(sys.argv[1]))
