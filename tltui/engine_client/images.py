"""Images and Grad-CAM heat maps of a run, from ``engine.process.image_server``."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

from engine.errors import InputError
from engine.process.image_protocol import ImageReply, ImageRequest
from engine.system.interpreter import python_module
from tltui.engine_client.json_lines import JsonLinesProcess

_SERVER = python_module("engine.process.image_server")


class ImageClient:
    """Starts the image server with the first request; ``close`` ends it.

    The server has at most one request at a time. Further ones wait here, where a cancelled request costs nothing:
    under a key that repeats only the newest image is computed.
    """

    def __init__(self, run: Path, command: tuple[str, ...] = _SERVER) -> None:
        """``command`` gets the run's folder as its last argument."""
        self._command = (*command, str(run))
        self._process: JsonLinesProcess | None = None
        self._turn = asyncio.Lock()
        self._requests = self._replies = 0

    async def image(self, image: str, size: tuple[int, int], label: str | None = None, layer: str = "") -> bytes:
        """A PNG of at most ``size`` pixels, with the heat map of class ``label`` in ``layer`` if one is given.

        Raises InputError with the server's reason. A request cancelled before its turn is never computed; the reply
        to one cancelled later is discarded.
        """
        async with self._turn:
            process = await self._running_server()
            try:
                await self._last_reply(process)  # to a request that was cancelled
                self._requests += 1
                await process.send(ImageRequest(self._requests, image, *size, label=label, layer=layer))
                reply = await self._last_reply(process)
            except InputError:
                await process.end()
                raise
        assert reply is not None
        if reply.error:
            raise InputError(reply.error)
        return base64.b64decode(reply.png)

    async def close(self) -> None:
        """End the server, whatever it computes."""
        if self._process is not None:
            await self._process.end()

    async def _running_server(self) -> JsonLinesProcess:
        if self._process is None or not self._process.is_running:
            self._replies = self._requests  # requests to a server that is gone get none
            self._process = await JsonLinesProcess.start(self._command, "the image server")
        return self._process

    async def _last_reply(self, process: JsonLinesProcess) -> ImageReply | None:
        """The reply to the newest request; None where all have been received."""
        reply = None
        while self._replies < self._requests:
            if (reply := await process.receive(ImageReply)) is None:
                raise process.no_answer()
            self._replies = reply.id
        return reply
