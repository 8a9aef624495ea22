"""The lock that lets one worker at a time write to a run. Imports no torch.

It is an flock, which the operating system releases when its process ends, however it ends. Neither a dead process nor
another with its process id can hold it, and it reads no clock. The file names the holder, for people and for two cases
in which flock is not enough:

- Some file systems keep the locks of each machine apart. The file may name a holder that did not exit gracefully and
  ran under another kernel: on another machine, or before this one rebooted. A new worker then watches the file for
  longer than a heartbeat interval. It is refused if it sees a heartbeat.
- Some file systems have no locks. A holder under this kernel is then identified by its process id and start time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.files.safe_open import open_regular
from engine.runs.folder import RunFolder

BEAT = 2.0  # seconds between two heartbeats
_WATCH = 5 * BEAT  # seconds to watch for a heartbeat; file servers may show an old size for a few seconds
_PATIENCE = 1.0  # seconds; ``is_locked`` in another process holds the lock for an instant, too
_SIZE = 512  # bytes of the lock file
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


class Holder(msgspec.Struct):
    """The holder of a lock: a process id with the process's start time and its machine's boot.

    ``beat`` counts its heartbeats.
    """

    process_id: int
    started: str
    boot: str
    host: str
    token: str = ""
    beat: int = 0

    def describe(self) -> str:
        """The holder as part of a message."""
        return f"process {self.process_id} on {self.host}"


class Lock:
    """Held by the one worker that may write to a run, until ``release`` or the end of its process."""

    def __init__(self, folder: RunFolder) -> None:
        """Take the lock. Raises InputError if another process holds it."""
        self._path = folder.lock
        self._me = this_process()
        self._fd = -1
        try:
            self._take(folder)
        except BaseException:
            self._close()
            raise
        os.register_at_fork(after_in_child=self._close)  # a child that outlives its worker must not keep the lock
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)
        self._heartbeat.start()

    def release(self) -> None:
        """Release the lock gracefully, so that the next worker need not watch for heartbeats."""
        self._released.set()
        self._heartbeat.join()
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
        self._close()

    def _take(self, folder: RunFolder) -> None:
        deadline = time.monotonic() + _PATIENCE
        while (locks := self._try()) is False:
            if time.monotonic() > deadline:
                raise InputError(_refusal(folder, holder(self._path)))
            time.sleep(0.02)
        before = holder(self._path)
        if before and _is_alive(self._path, before, locks_work=locks is True):
            raise InputError(_refusal(folder, before))
        self._write()
        if locks is None:  # another process may have taken it at the same time
            time.sleep(BEAT)
            after = holder(self._path)
            if after is None or after.token != self._me.token:
                raise InputError(_refusal(folder, after))

    def _try(self) -> bool | None:
        """Open and lock the file; None if the file system has no locks."""
        self._close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return None if error.errno in _NO_LOCKS else False
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _write(self) -> None:
        content = msgspec.json.encode(self._me)
        with suppress(OSError):  # a full disk; the flock holds without it
            os.pwrite(self._fd, content.ljust(_SIZE), 0)
            os.ftruncate(self._fd, _SIZE)

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            self._me.beat += 1
            self._write()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_locked(folder: RunFolder) -> bool:
    """Whether a worker holds the run's lock, as far as this host can see without waiting."""
    try:
        file = open_regular(folder.lock, follow=False)
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                return True
            named = holder(folder.lock)
            return named is not None and (named.boot != _boot() or _started(named.process_id) == named.started)
    return False


def holder(path: Path) -> Holder | None:
    """The process that a lock file names."""
    try:
        with open_regular(path, follow=False) as file:
            return msgspec.json.decode(file.read(_SIZE), type=Holder)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def this_process() -> Holder:
    """This process as the holder of a lock."""
    return Holder(
        process_id=os.getpid(),
        started=_started(os.getpid()),
        boot=_boot(),
        host=socket.gethostname(),
        token=secrets.token_hex(8),
    )


def lives_here(named: Holder) -> bool:
    """Whether the process runs on this machine and is alive."""
    return (named.host, named.boot) == (socket.gethostname(), _boot()) and _started(named.process_id) == named.started


def _is_alive(path: Path, named: Holder, *, locks_work: bool) -> bool:
    """Whether the holder that a free lock names is still alive; may watch for heartbeats for 10 s."""
    if named.boot == _boot():
        return not locks_work and _started(named.process_id) == named.started
    deadline = time.monotonic() + _WATCH
    while time.monotonic() < deadline:
        time.sleep(BEAT / 4)
        if (now := holder(path)) is not None and now != named:
            return True
    return False


def _refusal(folder: RunFolder, by: Holder | None) -> str:
    who = f" by {by.describe()}" if by else ""
    return f"run {folder.id} is already being trained{who}; attach to it instead"


def _boot() -> str:
    """An id of the machine's current boot, independent of its clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil  # imported only here, because listing runs at startup checks locks

        return str(int(psutil.boot_time()))


def _started(process_id: int) -> str:
    """A process's start time, in ticks since boot where /proc has it; "" if there is no such process."""
    try:
        # The name, in brackets, may itself contain blanks and brackets.
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    import psutil

    try:
        return str(psutil.Process(process_id).create_time())
    except psutil.Error:
        return ""
