"""A run that is stopped within an epoch ends, with each setting of training, as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.process.run import execute_run
from engine.runs.command_log import new_command_id, send
from engine.runs.commands import Stop
from engine.runs.event_log import EventLog, EventTail
from engine.runs.events import AnyEvent, Resumed, Step
from engine.runs.folder import RunFolder, create
from engine.runs.replay import ReplayedLog
from engine.training.control import Control
from tests.conftest import make_weights
from tests.faults.short_run import Outcome, log_problems

DEEP = {"rules": ["freeze *", "train layer4", "train head"]}
CASES: dict[str, dict[str, Any]] = {
    "accumulate": {"freeze": DEEP, "train": {"accumulate": 2, "batch_size": 4}},
    # No later epoch is better: the rate falls in each.
    "plateau": {"schedule": {"name": "plateau", "plateau_patience": 0}, "train": {"score": "accuracy"}},
    "sampler": {"data": {"augment": "standard", "views": 2, "workers": 0}, "train": {"sampler": "balanced"}},
    "ema": {"freeze": DEEP, "train": {"ema": 0.8}},
    "mixup and cutmix": {"train": {"mixup": 0.4, "cutmix": 1.0}},
    "l2_sp": {"freeze": DEEP, "train": {"l2_sp": 0.5}},
    "biases": {"freeze": {"rules": ["freeze *", "train *.bias", "train head"]}},
}
MIDDLE = 5  # of the second of three epochs, with three steps each


def train(folder: RunFolder, stop_after: int = 0) -> str:
    """Train a run in this process, as a worker does; returns how it ended."""
    past = ReplayedLog.of(EventTail(folder).poll())
    log = EventLog(folder, past.contains)

    def stop(event: AnyEvent) -> None:
        if isinstance(event, Step) and event.step == stop_after:
            send(folder, Stop(id=new_command_id()))

    log.listeners.append(stop)
    finished = execute_run(folder, log, Control(folder, past.answered), past)
    log.write(finished)
    log.close(10)
    return finished.status


@pytest.mark.usefixtures("signal_handlers", "one_thread")
@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_within_an_epoch_resumes_bit_identically(
    case: str, config: Callable[..., RunConfig], tmp_path: Path
):
    sections = {name: dict(values) for name, values in CASES[case].items()}
    sections["train"] = {"epochs": 3, **sections.get("train", {})}
    wanted = config(**sections, model={"weights": str(make_weights(tmp_path / "weights.pt"))})
    whole, stopped = create(tmp_path / "whole", wanted), create(tmp_path / "stopped", wanted)
    assert train(whole) == "completed"
    assert train(stopped, stop_after=MIDDLE) == "stopped"
    assert train(stopped) == "completed"
    (resumed,) = [event for event in EventTail(stopped).poll() if isinstance(event, Resumed)]
    assert (resumed.step, resumed.epoch) == (MIDDLE, 1)
    assert Outcome.of(whole).difference(Outcome.of(stopped)) == ["answers"]
    assert log_problems(stopped) == []


@pytest.mark.usefixtures("signal_handlers", "one_thread")
def test_a_run_that_is_pulled_to_weights_that_are_gone_does_not_resume(
    config: Callable[..., RunConfig], tmp_path: Path
):
    weights = make_weights(tmp_path / "weights.pt")
    folder = create(tmp_path / "run", config(**CASES["l2_sp"], model={"weights": str(weights)}))
    assert train(folder, stop_after=2) == "stopped"
    weights.unlink()
    with pytest.raises(InputError, match=r"no longer gives the weights that train\.l2_sp pulls to; restore that file"):
        train(folder)
