"""How often the diagnosis is right: precision and recall of each rule on runs that were made to show each case.

    python -m tests.benchmarks.diagnoses [--folder DIR] [--processes N] [--list]

Runs that are in DIR already are not made again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from engine.config import to_toml
from engine.rundir import EventTail, RunFolder
from engine.state import RunState, fold_all
from tests.benchmarks.diagnosis_runs import Made, made_runs


def make(made: Made, folder: Path) -> None:
    """Train a run unless it is there."""
    run = RunFolder(folder / "runs" / made.name)
    if run.path.exists() and state_of(run).finished is not None:
        return
    from engine.control import Control
    from engine.past import Past
    from engine.rundir import EventLog
    from engine.run import carry_out

    run.path.mkdir(parents=True, exist_ok=True)
    run.config.write_text(to_toml(made.config(folder / "pictures"), comments=False))
    log = EventLog(run)
    log.write(carry_out(run, log, Control(run), Past()))
    log.close(5)


def _make(job: tuple[Made, Path]) -> str:
    import time, traceback
    t=time.time()
    try:
        make(*job)
    except Exception:
        traceback.print_exc()
    return f"{job[0].name} {time.time()-t:.1f}"


def state_of(run: RunFolder) -> RunState:
    return fold_all(EventTail(run).poll())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("/tmp/h-diagnosis"))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    from tests.benchmarks.diagnosis_runs import write_pictures
    for data in ("digits", "letters", "solar"):
        write_pictures(options.folder / "pictures", data)
    jobs = [(made, options.folder) for made in made_runs()]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name in pool.imap_unordered(_make, jobs, chunksize=1):
            print(name, flush=True)
