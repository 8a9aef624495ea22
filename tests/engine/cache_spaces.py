"""Spaces of the cache with rows that can be told, and processes that use and leave them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np

from engine.cache.feature_files import Keys, Row
from engine.cache.file_digests import as_keys, digest
from engine.cache.space import CacheSpace

IDENTITY = "ab" * 16
PROCESSES = multiprocessing.get_context("fork")


def keys_of(*names: object) -> Keys:
    return as_keys([digest(str(name).encode()) for name in names])


def row_of(key: bytes) -> Row:
    """Some bytes that only this key has, in one of several shapes."""
    size = key[0] % 7 + 1
    shape = [(size * 60,), (size * 12, 5), (size, 20, 3), (size, 5, 4, 3)][key[1] % 4]
    return np.frombuffer(hashlib.shake_128(key).digest(size * 60), np.uint8).reshape(shape)


def rows_of(keys: Keys) -> list[Row]:
    return [row_of(key) for key in keys.tolist()]


class Problems(list[str]):
    """The codes of what a space told."""

    def __call__(self, code: str, sentence: str) -> None:
        assert sentence
        self.append(code)


def open_space(
    root: Path, identity: str = IDENTITY, problems: Problems | None = None, memory: int = 2**30
) -> CacheSpace:
    def none_expected(code: str, sentence: str) -> None:
        raise AssertionError(f"{code}: {sentence}")

    return CacheSpace(
        root,
        "features",
        identity,
        {"data": "photos", "model": "net"},
        none_expected if problems is None else problems,
        memory,
    )


def check(space: CacheSpace, keys: Keys) -> None:
    """All of ``keys`` are there, and right."""
    assert space.present(keys).all()
    for row, expected in zip(space.read(keys), rows_of(keys), strict=True):
        assert row.shape == expected.shape
        assert np.array_equal(row, expected)


def check_present(space: CacheSpace, keys: Keys) -> int:
    """Those of ``keys`` that are there are right; returns how many."""
    there = keys[space.present(keys)]
    check(space, there)
    return len(there)


def start(work: Callable[..., None], *arguments: object) -> ForkProcess:
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    return process


def ends_well(process: ForkProcess) -> None:
    process.join(60)
    assert process.exitcode == 0


def kill(process: ForkProcess) -> None:
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
