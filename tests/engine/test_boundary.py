"""The choice of what a frozen prefix caches, on networks of a few operations."""

from __future__ import annotations

from engine.models.boundary import Node, choose_boundary


def node(*inputs: int, size: int | None, repeatable: bool = True, view: bool = False, returned: bool = False) -> Node:
    return Node(inputs, size, repeatable, view, returned)


IMAGES = node(size=3000)


def test_the_last_frozen_output_is_cached():
    convolution = node(0, size=800, repeatable=False)
    head = node(1, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, convolution, head], {0, 1}) == ({0, 1}, [1])


def test_the_suffix_repeats_what_enlarges_or_reshapes_the_cached_tensor():
    convolution = node(0, size=800, repeatable=False)
    upsampled = node(1, size=3200)
    flat = node(2, size=3200, view=True)
    head = node(3, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, convolution, upsampled, flat, head], {0, 1, 2, 3}) == ({0, 1}, [1])


def test_an_operation_that_shrinks_the_tensor_stays_in_the_prefix():
    convolution = node(0, size=800, repeatable=False)
    pooled = node(1, size=50)
    head = node(2, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, convolution, pooled, head], {0, 1, 2}) == ({0, 1, 2}, [2])


def test_a_container_is_never_cached_but_repeated_with_what_reads_from_it():
    convolution = node(0, size=800, repeatable=False)
    unbound = node(1, size=None, view=True)
    only = node(2, size=800, view=True)
    head = node(3, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, convolution, unbound, only, head], {0, 1, 2, 3}) == ({0, 1}, [1])


def test_an_expensive_operation_with_several_outputs_is_not_repeated():
    """Attention returns (output, weights); reading the output is cheap, computing it again is not."""
    tokens = node(0, size=800, repeatable=False)
    attention = node(1, size=None, repeatable=False)
    output = node(2, size=800, view=True)
    head = node(3, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, tokens, attention, output, head], {0, 1, 2, 3}) == ({0, 1, 2, 3}, [3])


def test_a_frozen_output_that_the_network_returns_is_cached_too():
    trunk = node(0, size=800, repeatable=False)
    frozen_head = node(1, size=10, repeatable=False, returned=True)
    trained_head = node(1, size=10, repeatable=False, returned=True)
    assert choose_boundary([IMAGES, trunk, frozen_head, trained_head], {0, 1, 2}) == ({0, 1, 2}, [1, 2])
