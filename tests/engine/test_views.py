"""Which views of an image are shown, and under which name they are kept."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from engine.data.augmented_views import CENTRE, Views

KEYS = [blake2b(bytes([number]), digest_size=16).digest() for number in range(200)]


def numbers(views: Views, key: bytes, epochs: int, *, cached: bool = True) -> list[int]:
    return [views.in_epoch(epoch, 0, key, cached=cached).number for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize(("augment", "count"), [("none", 1), ("flip", 2), ("standard", 8), ("trivial", 8)])
def test_how_many_views_are_kept_unless_one_says_so(augment: str, count: int):
    assert Views.of(augment, 0, 0).count == count


def test_the_first_epochs_see_new_draws_as_they_would_without_a_cache():
    views = Views.of("standard", 4, 0)
    assert numbers(views, KEYS[0], 4) == [1, 2, 3, 4]
    assert numbers(views, KEYS[0], 50, cached=False) == list(range(1, 51))


def test_then_one_image_in_as_many_as_there_are_views_gets_a_new_one():
    views = Views.of("standard", 4, 0)
    for epoch in range(5, 30):
        new = sum(views.in_epoch(epoch, 0, key, cached=True).number == epoch for key in KEYS)
        assert 25 <= new <= 75, epoch


def test_every_view_of_an_image_is_replaced_in_time_and_the_last_ones_are_shown_in_turn():
    shown = numbers(Views.of("standard", 3, 0), KEYS[1], 60)
    for at in range(9, 60):
        assert len(set(shown[at - 2 : at + 1])) == 3
        assert shown[at] > at - 9 - 3


def test_half_of_the_images_are_mirrored_and_others_in_each_epoch():
    views = Views.of("flip", 0, 0)
    first, second = ([views.in_epoch(epoch, 0, key, cached=True).number for key in KEYS] for epoch in (1, 2))
    assert set(first) == {0, 1}
    assert 70 < sum(first) < 130
    assert first != second


def test_names_are_shared_where_the_content_is_the_same_and_only_there():
    standard, other_seed, flip = Views.of("standard", 0, 1), Views.of("standard", 0, 2), Views.of("flip", 0, 1)
    assert standard.cache_key(KEYS[0], CENTRE) == flip.cache_key(KEYS[0], CENTRE) == KEYS[0]
    assert flip.cache_key(KEYS[0], 1) == Views.of("flip", 0, 9).cache_key(KEYS[0], 1)
    names = {standard.cache_key(KEYS[0], 1), standard.cache_key(KEYS[0], 2), standard.cache_key(KEYS[1], 1)}
    names |= {
        other_seed.cache_key(KEYS[0], 1),
        flip.cache_key(KEYS[0], 1),
        Views.of("trivial", 0, 1).cache_key(KEYS[0], 1),
    }
    assert len(names) == 6
