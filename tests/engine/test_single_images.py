"""Batches of one image: batch norms have no statistics of a single value."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.config.schema import RunConfig
from engine.data.loaders import micro_batches, training_batch_count
from engine.data.samplers import epoch_batches
from engine.errors import InputError
from engine.runs.command_log import send
from engine.runs.commands import Set
from engine.runs.event_log import EventTail
from engine.runs.events import CommandRejected, Step
from engine.training.loop import fit
from tests.conftest import Sessions

Configs = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("images", "size", "sizes"), [(9, 2, [2, 2, 2, 3]), (9, 4, [3, 3, 3]), (3, 1, [1, 1, 1]), (1, 8, [1]), (2, 4, [2])]
)
def test_only_batches_of_one_hold_a_single_image(images: int, size: int, sizes: list[int]):
    assert [part.stop - part.start for part in micro_batches(images, size)] == sizes
    assert training_batch_count(images, size) == len(sizes)


def deep_features(config: Configs, **sections: dict) -> RunConfig:
    """Trains all layers of a network whose last maps are of 1 × 1 pixel."""
    sections["train"] = {"batch_size": 1, "epochs": 1} | sections.get("train", {})
    sections["data"] = {"limit_per_class": 4, "image_size": 32} | sections.get("data", {})
    return config(**{"freeze": {"rules": ["train *"]}, **sections})


def test_a_batch_size_of_one_is_refused_where_a_trainable_norm_would_see_one_value(config: Configs, session: Sessions):
    with pytest.raises(InputError, match=r"^train\.batch_size = 1: the batch norm layer4\S* and .* more would compute"):
        session(deep_features(config))
    phases = {"phases": [{"epochs": 1, "rules": ["freeze *", "train head"]}, {"epochs": 1, "rules": ["train *"]}]}
    with pytest.raises(InputError, match=r"^train\.batch_size = 1"):
        session(deep_features(config, recipe=phases, freeze={"rules": []}))
    assert fit(session(deep_features(config, freeze={"rules": ["train *"], "norm_stats": "frozen"}))) == (
        "all 1 epochs done"
    )
    assert fit(session(deep_features(config, data={"image_size": 96}))) == "all 1 epochs done", "maps of 3 × 3 pixels"


def test_a_freeze_plan_that_would_need_larger_batches_is_rejected(config: Configs, session: Sessions):
    run = session(deep_features(config, freeze={"rules": ["freeze *", "train head"]}))
    send(run.context.folder, Set(id="a", key="freeze.rules", value=["train *"]))
    assert fit(run) == "all 1 epochs done"
    (refused,) = [event for event in EventTail(run.context.folder).poll() if isinstance(event, CommandRejected)]
    assert "set train.batch_size to 2 or more" in refused.reason


def test_an_odd_image_trains_in_a_batch_of_three(config: Configs, session: Sessions):
    run = session(deep_features(config, train={"batch_size": 2}, data={"limit_per_class": 5}))
    assert len(run.data.splits["train"]) % 2
    assert fit(run) == "all 1 epochs done"
    batches = epoch_batches(run.data, run.config.train, epoch=1)
    assert sorted(map(len, batches))[:-1] == [2] * (len(batches) - 1)
    steps = [event for event in EventTail(run.context.folder).poll() if isinstance(event, Step)]
    assert len(steps) == run.steps_per_epoch == len(run.data.splits["train"]) // 2


def test_a_batch_that_memory_is_too_small_for_leaves_no_part_of_one_image(config: Configs, session: Sessions):
    fits = session(deep_features(config, train={"batch_size": 8})).fits
    assert fits.shrink("train", 5, MemoryError(), least=2) == 2
    assert [part.stop - part.start for part in fits.parts("train", 5, least=2)] == [2, 3]
