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
    """The one writer of events.jsonl: numbers the events, stamps them, writes each as one line.

    A log that is there already is continued: a torn last line is cut off, numbers go on. Where the disk is full, lines
    wait in memory, in their order, until there is room. Any thread may write.
    """

    def __init__(self, folder: RunFolder, is_logged: Callable[[Event], bool] = lambda _event: False) -> None:
        """``is_logged``: whether an event stands in the log already and must not be written again."""
        new = not folder.events.exists()
        self._fd = os.open(folder.events, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if new:
            with suppress(OSError):  # of a disk that is full there will be more to say
                sync_folder(folder.path)
        self._is_logged = is_logged
        self.listeners: list[Callable[[Event], None]] = []
        """Given each event once it is written."""
        self._seq = _repair(self._fd)
        self._waiting = bytearray()
        self._complained = False
        self._one_at_a_time = threading.RLock()

    @property
    def seq(self) -> int:
        """The number of the last event."""
        return self._seq

    def write(self, event: Event) -> None:
        """Append ``event``; it is on its way to the disk when this returns, or will be once there is room."""
        with self._one_at_a_time:
            if self._is_logged(event):
                return
            self._number(event)
            try:
                self._flush()
            except OSError as error:
                self._complain(error)
            for listen in self.listeners:
                listen(event)

    def sync(self) -> None:
        """Wait until everything written so far would survive a loss of power. Raises OSError where it would not."""
        with self._one_at_a_time:
            self._flush()
        os.fsync(self._fd)

    def close(self, patience: float) -> None:
        """Write what still waits, for at most ``patience`` seconds, and sync. Raises OSError if that can't be done."""
        give_up = time.monotonic() + patience
        while True:
            try:
                self.sync()
                return
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def _number(self, event: Event) -> None:
        self._seq += 1
        event.seq, event.time = self._seq, time.time()
        self._waiting += encode(event)

    def _flush(self) -> None:
        while self._waiting:
            del self._waiting[: os.write(self._fd, self._waiting)]
        self._complained = False

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            message = (
                f"events can't be written ({error.strerror}) and wait in memory; training goes on; make room there"
            )
            self._number(Warning(code="log_waits", message=message))


def _repair(events: int) -> int:
    """Cut off a last line that has no end; returns the number of the last event."""
    end = _line_end(events, os.fstat(events).st_size)
    if end < os.fstat(events).st_size:
        os.ftruncate(events, end)
    while end:
        start = _line_end(events, end - 1)
        try:
            return msgspec.json.decode(os.pread(events, end - start, start), type=_Numbered).seq
        except (msgspec.DecodeError, UnicodeDecodeError):  # garbage that its readers pass over, too
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
    """Follows a run's events; lines that are no events are counted in ``broken`` and passed over.

    Without ``steps``, for those who need no curves, the events of steps are passed over undecoded.
    """

    def __init__(self, folder: RunFolder, *, steps: bool = True) -> None:
        self._tail = LineTail(folder.events)
        self._steps = steps
        self._decoded: Iterator[AnyEvent] = iter(())
        self.broken = 0
        self.beginnings = 0
        """How often the log turned out to be another, or a shorter one. Its events come from the first then."""

    def poll(self) -> Iterator[AnyEvent]:
        """The events that are new since the last poll; a look at ``beginnings`` says whether they are all there are."""
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
        except (msgspec.DecodeError, UnicodeDecodeError):  # line by line, to pass over those that are none
            found = []
        for line in block[:-1].split(b"\n"):
            try:
                found.append(decode_event(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.broken += 1
        return found


_STEPS = re.compile(rb'^\{"type":"step".*\n', re.MULTILINE)
