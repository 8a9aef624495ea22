"""Images of a run from ``engine.process.image_server``, which opens files and loads the network for heat maps."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.process.image_protocol import ImageReply, ImageRequest
from engine.system.interpreter import environment, python_module

_SERVER = python_module("engine.process.image_server")
_LINE = 2**24  # bytes that an answer may have


class Looking:
    """Starts the process with the first question; ``close`` ends it.

    The process has one question at a time. While it computes, those who ask wait here, where their question costs
    nothing once they are cancelled: under a key that repeats only the newest is computed.
    """

    def __init__(self, run: Path, command: tuple[str, ...] = _SERVER) -> None:
        """``command`` is given the run's folder."""
        self._command = (*command, str(run))
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0

    async def look(self, image: str, size: tuple[int, int], label: str | None = None, layer: str = "") -> bytes:
        """A PNG of at most ``size`` pixels; see ``image_server.Ask``. Raises InputError with the engine's reason.

        A question that is cancelled before its turn is never computed. The answer to one that is cancelled while it is
        computed is passed over.
        """
        async with self._turn:
            process = await self._started()
            await self._answer(process)
            self._asked += 1
            ask = ImageRequest(self._asked, image, *size, label=label, layer=layer)
            answer = await self._answer(process, ask)
        assert answer is not None
        if answer.error:
            raise InputError(answer.error)
        return base64.b64decode(answer.png)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._answered = self._asked  # what the one before it was asked nobody answers
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_LINE,
                env=environment(),
                start_new_session=True,  # a ctrl+c meant for the app does not reach it
            )
        return self._process

    async def _answer(self, process: asyncio.subprocess.Process, ask: ImageRequest | None = None) -> ImageReply | None:
        """The answer to ``ask``; without one, wait for that to a question whose asker is gone."""
        assert process.stdin
        assert process.stdout
        answer: ImageReply | None = None
        try:
            if ask is not None:
                process.stdin.write(msgspec.json.encode(ask) + b"\n")
                await process.stdin.drain()
            while self._answered < self._asked:
                if not (line := await process.stdout.readline()):
                    break
                answer = msgspec.json.decode(line, type=ImageReply)
                self._answered = answer.id
            if self._answered == self._asked:
                return answer
        except (OSError, ValueError, msgspec.DecodeError):
            pass
        raise InputError("the process that shows images is gone; `tltui doctor` shows what is installed")

    async def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
