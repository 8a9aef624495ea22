"""Pictures of a run from ``engine.looking``, a process that opens files and, for heat maps, loads the network."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.interpreter import environment, python_module
from engine.looks import Ask, Look

_LINE = 2**24  # bytes that an answer may have


class Looking:
    """Starts the process with the first question; ``close`` ends it."""

    def __init__(self, run: Path) -> None:
        self._command = python_module("engine.looking", str(run))
        self._process: asyncio.subprocess.Process | None = None
        self._asked = 0

    async def look(self, picture: str, size: tuple[int, int], label: str | None = None, layer: str = "") -> bytes:
        """A PNG of at most ``size`` pixels, see ``engine.looking.Ask``. Raises InputError with what the engine said.

        A question that is cancelled is answered all the same; its answer is passed over.
        """
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_LINE,
                env=environment(),
                start_new_session=True,  # a ctrl+c meant for the app does not reach it
            )
        self._asked += 1
        ask = Ask(self._asked, picture, *size, label=label, layer=layer)
        answer = await _answer(self._process, ask)
        if answer.error:
            raise InputError(answer.error)
        return base64.b64decode(answer.png)

    async def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def _answer(process: asyncio.subprocess.Process, ask: Ask) -> Look:
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(msgspec.json.encode(ask) + b"\n")
        await process.stdin.drain()
        while line := await process.stdout.readline():
            answer = msgspec.json.decode(line, type=Look)
            if answer.id == ask.id:
                return answer
    except (OSError, ValueError, msgspec.DecodeError):
        pass
    raise InputError("the process that shows pictures is gone; `tltui doctor` shows what is installed")
