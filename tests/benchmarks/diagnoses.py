"""How often the diagnosis is right: precision and recall of each rule on runs that were made to show each case.

    python -m tests.benchmarks.diagnoses [--folder DIR] [--processes N] [--tuning]

A run counts as diagnosed with a case where the app would have shown it after any of its epochs. The rules were tuned on
the runs on digits (``--tuning``); what is reported comes from the others. Runs that DIR has already are not made again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine.config.toml_io import to_toml
from engine.diagnosis.diagnose import diagnose
from engine.runs import events as p
from engine.runs.event_log import EventTail
from engine.runs.folder import RunFolder
from engine.runs.state import RunState, fold, fold_all
from tests.benchmarks.diagnosis_runs import Made, made_runs, write_images


@dataclass
class Score:
    """Runs made for a case, those of them in which it was found, and runs in which it was found wrongly."""

    made: int = 0
    found: int = 0
    wrong: int = 0

    @property
    def line(self) -> str:
        precision = f"{self.found / (self.found + self.wrong):.2f}" if self.found + self.wrong else "-"
        recall = f"{self.found / self.made:.2f}" if self.made else "-"
        return f"{self.made} | {precision} | {recall}"


def make(made: Made, folder: Path) -> None:
    """Train a run in this process, unless ``folder`` has it."""
    run = RunFolder(folder / "runs" / made.name)
    if run.events.exists() and fold_all(EventTail(run, steps=False).poll()).finished:
        return
    from engine.process.run import execute_run
    from engine.runs.event_log import EventLog
    from engine.runs.replay import ReplayedLog
    from engine.training.control import Control

    run.path.mkdir(parents=True, exist_ok=True)
    run.config.write_text(to_toml(made.config(folder / "images"), comments=False))
    log = EventLog(run)
    log.write(execute_run(run, log, Control(run), ReplayedLog()))
    log.close(5)


def shown(run: RunFolder) -> dict[str, int]:
    """The cases that were found after any epoch, and the first epoch after which each was."""
    config, state = run.load_config(), RunState()
    found: dict[str, int] = {}
    for event in EventTail(run).poll():
        fold(state, event)
        if isinstance(event, p.Epoch | p.RunFinished):
            for finding in diagnose(state, config):
                found.setdefault(finding.case, len(state.epochs))
    return found


def report(runs: Iterable[Made], folder: Path) -> None:
    """Print what was wrong, and the table."""
    scores: dict[str, Score] = defaultdict(Score)
    healthy = quiet = count = 0
    for made in runs:
        found = shown(RunFolder(folder / "runs" / made.name))
        count += 1
        healthy += not made.shows
        quiet += not made.shows and not found
        for case in made.shows:
            scores[case].made += 1
            scores[case].found += case in found
        wrong = found.keys() - made.shows - made.may_show
        for case in wrong:
            scores[case].wrong += 1
        if wrong or made.shows - found.keys():
            _say(f"{made.name}: made for {', '.join(made.shows) or 'nothing'}, found {found or 'nothing'}")
    _say(f"{count} runs, {healthy} of them healthy, of which {quiet} had no finding")
    _say("| case | runs | precision | recall |\n| --- | --- | --- | --- |")
    for case, score in sorted(scores.items()):
        _say(f"| {case} | {score.line} |")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("diagnoses"))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tuning", action="store_true", help="the runs that the rules were tuned on")
    options = parser.parse_args()
    wanted = [made for made in made_runs() if made.held_out != options.tuning]
    for data in dict.fromkeys(made.data for made in wanted):
        write_images(options.folder / "images", data)
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        for job in [pool.submit(make, made, options.folder) for made in wanted]:
            job.result()
    report(wanted, options.folder)
