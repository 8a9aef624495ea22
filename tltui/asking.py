"""An experiment in a process of its own, ``engine.experiments.asked``, so that the app stays responsive."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import msgspec

from engine.config import RunConfig
from engine.errors import InputError
from engine.experiments.lines import Line

_COMMAND = (sys.executable, "-m", "engine.experiments.asked")
_LINE = 2**20  # bytes that a line may have
_PATIENCE = 5.0  # seconds to leave in order

SomeLine = TypeVar("SomeLine", bound=Line[Any])


async def ask(experiment: str, lines: type[SomeLine], config: RunConfig) -> AsyncGenerator[SomeLine]:
    """What the experiment says, in ``lines``, until the one with what was found. Raises InputError with what went
    wrong.

    The process is gone when this is over, also where it is closed before the end.
    """
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        experiment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LINE,
        start_new_session=True,  # a ctrl+c meant for the app does not reach it
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(config.model_dump_json().encode())
        process.stdin.close()
        while answer := await process.stdout.readline():
            line = msgspec.json.decode(answer, type=lines)
            if line.error:
                raise InputError(line.error)
            yield line
            if line.found:
                return
        raise InputError("the process of the experiment is gone; `tltui doctor` shows what is installed")
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InputError(f"what the experiment says can't be read ({error})") from None
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
