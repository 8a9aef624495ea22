"""Writes and follows a run's events.jsonl. Imports no torch."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from engine.files.atomic import sync_folder
from engine.runs.commands import encode
from engine.runs.events import AnyEvent, Event, Warning, decode_event, decode_events
from engine.runs.folder import RunFolder
from engine.runs.line_tail import CHUNK, LineTail


class EventLog:
    """Writes events.jsonl: numbers each event, adds the time, appends it as one line.

    An existing log is continued: a torn last line is cut off and the numbers continue. While the disk is full, lines
    wait in memory in their order. Any thread may write.
    """

    def __init__(self, folder: RunFolder, is_logged: Callable[[Event], bool] = lambda _event: False) -> None:
        """Open the log. ``is_logged``: whether the log has an event already, which is then not written again."""
        new = not folder.events.exists()
        self._fd = os.open(folder.events, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if new:
            with suppress(OSError):  # a full disk is reported at the first event
                sync_folder(folder.path)
        self._is_logged = is_logged
        self.listeners: list[Callable[[Event], None]] = []
        """Called with each event once it is written."""
        self._seq = _repair(self._fd)
        self._waiting = bytearray()
        self._warned = False
        self._write_lock = threading.RLock()

    @property
    def seq(self) -> int:
        """The number of the last event."""
        return self._seq

    def write(self, event: Event) -> None:
        """Append ``event``, or keep it in memory while the disk is full."""
        with self._write_lock:
            if self._is_logged(event):
                return
            self._number(event)
            try:
                self._flush()
            except OSError as error:
                self._warn(error)
            for listen in self.listeners:
                listen(event)

    def sync(self) -> None:
        """Wait until all events would survive a power loss. Raises OSError if they would not."""
        with self._write_lock:
            self._flush()
        os.fsync(self._fd)

    def close(self, patience: float) -> None:
        """Write waiting events and sync, for at most ``patience`` seconds. Raises OSError if that fails."""
        deadline = time.monotonic() + patience
        while True:
            try:
                self.sync()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _number(self, event: Event) -> None:
        self._seq += 1
        event.seq, event.time = self._seq, time.time()
        self._waiting += encode(event)

    def _flush(self) -> None:
        while self._waiting:
            del self._waiting[: os.write(self._fd, self._waiting)]
        self._warned = False

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            message = (
                f"events can't be written ({error.strerror}) and wait in memory; training continues; free disk space"
            )
            self._number(Warning(code="log_waits", message=message))


def _repair(events: int) -> int:
    """Cut off a torn last line. Returns the number of the last event."""
    end = _line_end(events, os.fstat(events).st_size)
    if end < os.fstat(events).st_size:
        os.ftruncate(events, end)
    while end:
        start = _line_end(events, end - 1)
        try:
            return msgspec.json.decode(os.pread(events, end - start, start), type=_Numbered).seq
        except (msgspec.DecodeError, UnicodeDecodeError):  # readers skip such a line, too
            end = start
    return 0


def _line_end(file: int, before: int) -> int:
    """The end of the last whole line that ends at ``before`` or earlier."""
    while before > 0:
        start = max(0, before - CHUNK)
        at = os.pread(file, before - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        before = start
    return 0


class _Numbered(msgspec.Struct):
    seq: int


class EventTail:
    """Follows a run's events; skips lines that are not events and counts them in ``broken``.

    Without ``steps``, for readers that need no curves, it skips step events undecoded.
    """

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        self._tail = LineTail(folder.events)
        self._steps = steps
        self._decoded: Iterator[AnyEvent] = iter(())
        self.broken = 0
        self.beginnings = 0
        """How often another or a shorter log replaced this one; its events then come from the first."""

    def poll(self) -> Iterator[AnyEvent]:
        """The events since the last poll, or all events where ``beginnings`` has risen."""
        if self._tail.begins_anew():
            self._decoded, self.broken = iter(()), 0
            self.beginnings += 1
        return self._new()

    def _new(self) -> Iterator[AnyEvent]:
        yield from self._decoded
        for block in self._tail.blocks():
            self._decoded = iter(self._decode(block if self._steps else _STEPS.sub(b"", block)))
            yield from self._decoded

    def _decode(self, block: bytes) -> list[AnyEvent]:
        try:
            return decode_events(block)
        except (msgspec.DecodeError, UnicodeDecodeError):  # line by line, to skip only those that are not events
            found = []
        for line in block[:-1].split(b"\n"):
            try:
                found.append(decode_event(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.broken += 1
        return found


_STEPS = re.compile(rb'^\{"type":"step".*\n', re.MULTILINE)
