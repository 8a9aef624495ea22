"""Processes that run a function of a test: each is forked from one that has imported what training needs."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forking_context() -> ForkServerContext:
    """The context of ``multiprocessing`` for tests; its server starts with the first process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.forked_starts.preloaded"])
    return context
