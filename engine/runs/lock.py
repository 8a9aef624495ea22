"""The lock of a run's one engine. Imports no torch.

It is a lock of the operating system (flock), which ends with its process however that ends: neither a dead process nor
one that has its number now can hold it, and no clock is asked. The file says who holds it, for people and for the two
cases in which flock is not enough:

- Some file systems keep the locks of each machine apart. So where the file names a holder that ran under another
  kernel (on another machine, or before this one was started anew) and did not leave in order, a newcomer watches for
  longer than a holder takes between two signs of life, and is refused if it sees one.
- Some know no locks at all. Then a holder under this kernel is looked up by its number and its start.
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

BEAT = 2.0  # seconds between two signs of life
_WATCH = 5 * BEAT  # how long a newcomer waits for one; file servers may show an old size for a few seconds
_PATIENCE = 1.0  # seconds; someone who only looks whether the run is locked holds the lock for an instant, too
_SIZE = 512  # bytes of the file
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


class Holder(msgspec.Struct):
    """Who holds a lock: a process is known by its number, when it started and its machine's boot; ``beat`` counts its
    signs of life."""

    process_id: int
    started: str
    boot: str
    host: str
    token: str = ""
    beat: int = 0

    def describe(self) -> str:
        """For a sentence."""
        return f"process {self.process_id} on {self.host}"


class Lock:
    """Held by the one engine that may write to a run, until ``release`` or the end of its process."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises InputError where another process holds the lock."""
        self._path = folder.lock
        self._me = this_process()
        self._fd = -1
        try:
            self._take(folder)
        except BaseException:
            self._close()
            raise
        os.register_at_fork(after_in_child=self._close)  # a child that outlives its engine must not hold on to it
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def release(self) -> None:
        """Leave in order, so that the next engine, wherever it runs, need not watch for this one."""
        self._over.set()
        self._heart.join()
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
        self._close()

    def _take(self, folder: RunFolder) -> None:
        give_up = time.monotonic() + _PATIENCE
        while (locks := self._try()) is False:
            if time.monotonic() > give_up:
                raise InputError(_refusal(folder, holder(self._path)))
            time.sleep(0.02)
        before = holder(self._path)
        if before and _lives(self._path, before, locks_work=locks is True):
            raise InputError(_refusal(folder, before))
        self._write()
        if locks is None:  # another may have come to the same conclusion at the same time
            time.sleep(BEAT)
            after = holder(self._path)
            if after is None or after.token != self._me.token:
                raise InputError(_refusal(folder, after))

    def _try(self) -> bool | None:
        """Open and lock the file; None where the file system knows no locks."""
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
        with suppress(OSError):  # a full disk; flock holds all the same
            os.pwrite(self._fd, content.ljust(_SIZE), 0)
            os.ftruncate(self._fd, _SIZE)

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            self._me.beat += 1
            self._write()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_locked(folder: RunFolder) -> bool:
    """Whether an engine holds the run's lock, as far as this host can see at once."""
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
    """The process that a lock's file names."""
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
    """Whether the process, if it is one of this machine, is still there."""
    return (named.host, named.boot) == (socket.gethostname(), _boot()) and _started(named.process_id) == named.started


def _lives(path: Path, named: Holder, *, locks_work: bool) -> bool:
    """Whether the holder that a free lock names is alive all the same; may take a while."""
    if named.boot == _boot():
        return not locks_work and _started(named.process_id) == named.started
    give_up = time.monotonic() + _WATCH
    while time.monotonic() < give_up:
        time.sleep(BEAT / 4)
        if (now := holder(path)) is not None and now != named:
            return True
    return False


def _refusal(folder: RunFolder, by: Holder | None) -> str:
    who = f" by {by.describe()}" if by else ""
    return f"run {folder.id} is already being trained{who}; attach to it instead"


def _boot() -> str:
    """Names the time since the machine was started, whatever its clock says."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil  # seldom needed, and what is listed at the start asks for locks

        return str(int(psutil.boot_time()))


def _started(process_id: int) -> str:
    """When a process started, in ticks since boot where the system tells them; "" if there is none."""
    try:
        # The name, in brackets, may hold blanks and brackets itself.
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    import psutil

    try:
        return str(psutil.Process(process_id).create_time())
    except psutil.Error:
        return ""
