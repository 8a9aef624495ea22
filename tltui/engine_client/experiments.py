"""Experiments with a draft of settings, from ``engine.experiments.server.server``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.server.json_lines import Line
from engine.runs.start_weights import resolve_start_weights
from engine.system.interpreter import python_module
from tltui.engine_client.json_lines import stream

_SERVER = python_module("engine.experiments.server.server")

SomeLine = TypeVar("SomeLine", bound=Line[Any])


async def run_experiment(
    experiment: str,
    lines: type[SomeLine],
    config: RunConfig,
    runs_dir: Path,
    command: tuple[str, ...] = _SERVER,
) -> AsyncGenerator[SomeLine]:
    """The progress of ``experiment`` up to and including the line with its result.

    ``runs_dir``: where ``model.weights`` finds an earlier run by its id.
    Raises InputError with the reason of a failure. Closing the generator ends the process.
    """
    settings = msgspec.Raw(resolve_start_weights(config, runs_dir).model_dump_json().encode())
    async with aclosing(stream((*command, experiment), "the experiment", lines, settings)) as received:
        async for line in received:
            if line.error:
                raise InputError(line.error)
            yield line
            if line.found:
                return
    raise InputError("the experiment ended without a result; `tltui doctor` shows what is installed")
