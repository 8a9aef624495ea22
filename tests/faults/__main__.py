"""``python -m tests.faults --kills 100``: the long form. Prints what was tried and what came out the same."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.kills import kill_again_and_again


def main() -> int:
    """Returns 1 if anything was not as it would have been without the fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="instants at which an engine is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tltui-faults-") as root:
        report = kill_again_and_again(Path(root), arguments.kills, arguments.seed)
        for problem in report.problems:
            print(problem)  # noqa: T201
        print(  # noqa: T201
            f"{report.instants} instants in {report.runs} runs: {report.identical} runs identical to the uninterrupted "
            f"one, {report.lines_lost} lines lost"
        )
    return int(bool(report.problems or report.lines_lost))


if __name__ == "__main__":
    sys.exit(main())
