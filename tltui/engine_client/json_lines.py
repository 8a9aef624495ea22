"""Processes that answer in lines of JSON, so that the app stays responsive: experiments, sweeps that go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from engine.config.schema import RunConfig
from engine.errors import InputError
from engine.experiments.server.json_lines import Line
from engine.system.interpreter import environment, python_module

_EXPERIMENT = python_module("engine.experiments.server.server")
_LINE = 2**24  # bytes that a line may have
_PATIENCE = 5.0  # seconds to leave in order

Answer = TypeVar("Answer")
SomeLine = TypeVar("SomeLine", bound=Line[Any])


async def ask(experiment: str, lines: type[SomeLine], config: RunConfig) -> AsyncGenerator[SomeLine]:
    """What the experiment says, in ``lines``, until the one with what was found. Raises InputError with what went
    wrong. The process is gone when this is over, also where it is closed before the end.
    """
    async with aclosing(answers((*_EXPERIMENT, experiment), lines, config.model_dump_json())) as said:
        async for line in said:
            if line.error:
                raise InputError(line.error)
            yield line
            if line.found:
                return
    raise InputError("the process of the experiment is gone; `tltui doctor` shows what is installed")


async def answers(command: Sequence[str], kind: type[Answer], given: str = "") -> AsyncGenerator[Answer]:
    """What the process of ``command``, ``given`` a text, prints, line by line. Raises InputError with what it said
    where it failed. The process is gone when this is over, also where it is closed before the end.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE,
        env=environment(),
        start_new_session=True,  # a ctrl+c meant for the app does not reach it
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    errors = asyncio.create_task(process.stderr.read())  # or it would stand still once the pipe is full
    try:
        process.stdin.write(given.encode())
        process.stdin.close()
        while answer := await process.stdout.readline():
            yield msgspec.json.decode(answer, type=kind)
        if await process.wait() and (said := (await errors).decode(errors="replace").strip().splitlines()):
            raise InputError(said[-1].removeprefix("tltui: "))
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InputError(f"what {command[-1]} says can't be read ({error})") from None
    finally:
        await _end(process)
        errors.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
