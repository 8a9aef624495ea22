"""``python -m tests.faults --kills 100``: the long form. Prints what was tried and what came out the same."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.app_kills import kill_the_app
from tests.faults.kills import Report, kill_again_and_again
from tests.faults.writes import fail_at_writes


def main() -> int:
    """Returns 1 if anything was not as it would have been without the fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="instants at which an engine is killed")
    parser.add_argument("--apps", type=int, default=0, metavar="N", help="apps that are killed while a run trains")
    parser.add_argument("--writes", type=int, default=0, metavar="N", help="writes that fail, each in a run of its own")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = False
    for what, count, try_them in (
        ("kills", arguments.kills, kill_again_and_again),
        ("killed apps", arguments.apps, kill_the_app),
        ("writes that fail", arguments.writes, fail_at_writes),
    ):
        with tempfile.TemporaryDirectory(prefix="tltui-faults-") as root:
            report = try_them(Path(root), count, arguments.seed) if count else Report()
        if not count:
            continue
        print(*report.problems, sep="\n", end="\n" if report.problems else "")  # noqa: T201
        print(  # noqa: T201
            f"{what}: {report.instants} instants in {report.runs} runs; {report.identical} runs identical to the "
            f"uninterrupted one, {report.lines_lost} lines lost"
        )
        failed |= bool(report.problems or report.lines_lost)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
