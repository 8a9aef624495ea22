"""The client of every subprocess that reads and writes lines of JSON: queries, images, experiments, sweeps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Self, TypeVar

import msgspec

from engine.errors import InputError
from engine.system.interpreter import environment

MAX_LINE = 2**24  # bytes
KEPT_STDERR = 2000  # bytes of its end; the last line is the error sentence
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_STDERR_WAIT = 1.0  # seconds; a subprocess of the subprocess may hold the pipe open

Message = TypeVar("Message")


class JsonLinesProcess:
    """A subprocess with a JSON value a line on stdin and stdout. The end of its stderr is kept for error sentences."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._name = name
        self._stderr = b""
        self._stderr_reader = asyncio.create_task(self._read_stderr(process.stderr))

    @classmethod
    async def start(cls, command: Sequence[str], name: str) -> Self:
        """Start ``command``; ``name`` is the subject of error sentences. Raises InputError where it can't start."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                env=environment(),
                start_new_session=True,  # a ctrl+c meant for the app does not reach it
            )
        except OSError as error:
            raise InputError(f"{name} can't be started ({error.strerror}); close other programs, then retry") from None
        return cls(process, name)

    @property
    def is_running(self) -> bool:
        """Whether the process has not exited yet."""
        return self._process.returncode is None

    async def send(self, message: object) -> None:
        """Write one line. To a process that has exited nothing is written: ``receive`` raises the reason."""
        with suppress(OSError):
            self._stdin.write(msgspec.json.encode(message) + b"\n")
            await self._stdin.drain()

    def end_input(self) -> None:
        """Close the process's stdin."""
        self._stdin.close()

    async def receive(self, kind: type[Message]) -> Message | None:
        """The next line as ``kind``, None once the process has exited with status 0.

        Raises InputError with the last line of its stderr where it failed, and for a line that is no ``kind``.
        """
        try:
            line = await self._stdout.readline()
            if line:
                return msgspec.json.decode(line, type=kind)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise self._unreadable(error) from None
        await self._raise_failure()
        return None

    async def receive_rest(self, kind: type[Message]) -> Message:
        """Everything up to the end of stdout as one JSON value. Raises InputError as ``receive`` does."""
        output = await self._stdout.read()
        await self._raise_failure()
        if not output.strip():
            raise self.no_answer()
        try:
            return msgspec.json.decode(output, type=kind)
        except msgspec.DecodeError as error:
            raise self._unreadable(error) from None

    def no_answer(self) -> InputError:
        """The error of a process that exited with status 0 before it answered."""
        return InputError(f"{self._name} ended without an answer; `tltui doctor` shows what is installed")

    async def end(self, grace: float = 0.0) -> None:
        """End the process: SIGTERM and ``grace`` seconds to clean up if any, then SIGKILL."""
        if self.is_running and grace:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace)
        if self.is_running:
            self._process.kill()
            await self._process.wait()
        self._stderr_reader.cancel()

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        """Read all along: a process whose stderr pipe is full blocks."""
        while chunk := await stderr.read(KEPT_STDERR):
            self._stderr = (self._stderr + chunk)[-KEPT_STDERR:]

    async def _raise_failure(self) -> None:
        """Wait for the exit; raise InputError unless the status is 0."""
        if status := await self._process.wait():
            await asyncio.wait({self._stderr_reader}, timeout=_STDERR_WAIT)
            raise InputError(failure_sentence(self._name, status, self._stderr))

    def _unreadable(self, error: Exception) -> InputError:
        reason = f"the output of {self._name} can't be read ({error})"
        return InputError(f"{reason}; `tltui doctor` shows what is installed")


def failure_sentence(name: str, status: int, stderr: bytes) -> str:
    """Why a process failed: the last line of its stderr, else its exit status or signal."""
    if lines := stderr.decode(errors="replace").strip().splitlines():
        return lines[-1].removeprefix("tltui: ")
    how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
    return f"{name} {how} without an error message; `tltui doctor` shows what is installed"


async def request(command: Sequence[str], name: str, kind: type[Message]) -> Message:
    """The one JSON value that ``command`` prints. Raises InputError; a request that is cancelled kills the process."""
    process = await JsonLinesProcess.start(command, name)
    try:
        process.end_input()
        return await process.receive_rest(kind)
    finally:
        await process.end()


async def stream(
    command: Sequence[str], name: str, kind: type[Message], message: object = None
) -> AsyncGenerator[Message]:
    """The lines that ``command`` prints, given ``message`` if any. Raises InputError where it fails.

    The process is gone when this generator is closed, also before its end.
    """
    process = await JsonLinesProcess.start(command, name)
    try:
        if message is not None:
            await process.send(message)
        process.end_input()
        while (received := await process.receive(kind)) is not None:
            yield received
    finally:
        await process.end(_GRACE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
