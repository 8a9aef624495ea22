"""The images of an epoch, and how often each comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from engine.config.schema import RunConfig
from engine.data.augmented_views import Views
from engine.data.samplers import balanced_order, epoch_batches
from engine.errors import InputError
from engine.training.loop import fit
from tests.conftest import Sessions, make_images


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 green images, 8 blue ones and 8 red ones."""
    root = tmp_path_factory.mktemp("uneven")
    make_images(root, 40, names=("green",))
    return str(make_images(root, 8, names=("blue", "red")))


def test_every_image_is_seen_once_an_epoch_in_batches_of_nearly_one_size(
    session: Sessions, config: Callable[..., RunConfig]
):
    run = session(config())  # 24 images
    train = run.config.train.model_copy(update={"batch_size": 23})
    batches = epoch_batches(run.data, train, 1)
    assert sorted(map(len, batches)) == [12, 12]
    assert sorted(index for batch in batches for index in batch) == sorted(run.data.splits["train"])
    assert batches == epoch_batches(run.data, train, 1)
    assert batches != epoch_batches(run.data, train, 2)


def test_balanced_sampling_draws_each_class_equally_often_also_from_the_cache(
    session: Sessions, config: Callable[..., RunConfig], uneven: str
):
    run = session(config(data={"path": uneven, "augment": "flip"}, train={"sampler": "balanced", "batch_size": 9}))
    members = run.data.splits["train"]
    for epoch in (1, 2):
        batches = epoch_batches(run.data, run.config.train, epoch)
        drawn = [index for batch in batches for index in batch]
        assert len(drawn) == len(members)
        assert set(drawn) <= set(members)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        counts = Counter(run.data.labels[index] for index in drawn)
        assert len(counts) == 3
        assert max(counts.values()) - min(counts.values()) <= 1
    assert epoch_batches(run.data, run.config.train, 1) != epoch_batches(run.data, run.config.train, 2)
    fit(run)
    assert run.loader.cached_bytes
    assert run.epochs[-1].train_loss is not None
    assert run.freezing.verify().unchanged


def test_an_image_that_comes_again_in_an_epoch_comes_in_another_view():
    views, key = Views.of("standard", 4, 0), b"image"
    apart = {views.in_epoch(1, 0, key, cached=False, repeat=repeat).number for repeat in range(20)}
    assert len(apart) == 20
    assert apart.isdisjoint(views.in_epoch(2, 0, key, cached=False, repeat=repeat).number for repeat in range(20))
    cached = {views.in_epoch(1, 0, key, cached=True, repeat=repeat).number for repeat in range(20)}
    assert 4 <= len(cached) <= 8, "few draws, so that cached features are used again"


def test_images_of_several_classes_are_drawn_for_each_of_them():
    images = [(at, [0, 1] if at == 0 else [0] if at < 50 else []) for at in range(60)]
    drawn = balanced_order(images, 400, np.random.default_rng(0)).tolist()
    assert drawn.count(0) >= 200, "the only image of class 1"
    assert max(drawn) < 50


def test_what_can_not_be_balanced_is_refused(config: Callable[..., RunConfig]):
    with pytest.raises(InputError, match=r'together overdo it; set train.class_weights = "none"'):
        config(train={"sampler": "balanced", "class_weights": "balanced"})
    with pytest.raises(InputError, match=r'train.sampler means nothing for data.task = "regression"'):
        config(data={"task": "regression"}, train={"sampler": "balanced"})
