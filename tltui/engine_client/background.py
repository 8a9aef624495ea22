"""Commands of `tltui` that the app starts and that outlive it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from engine.errors import InputError
from engine.files.safe_open import open_to_append
from engine.system.interpreter import environment, python_module
from tltui.engine_client.json_lines import KEPT_STDERR, failure_sentence


class BackgroundCommand:
    """A command in a session of its own: it outlives the app, so its errors go to a log."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        """Start ``tltui ARGUMENTS``. Raises InputError where the process can't be started."""
        self._log = log
        try:
            with open_to_append(self._log) as file:
                self._log_start = file.tell()
                self._process = subprocess.Popen(
                    python_module("tltui", *arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                    start_new_session=True,
                    env=environment(),
                )
        except OSError as error:
            raise InputError(f"{self._log}: can't be written ({error.strerror}); make room there") from None

    @property
    def is_running(self) -> bool:
        """Whether the process has not exited yet."""
        return self._process.poll() is None

    @property
    def error(self) -> str:
        """Why the command failed; "" while it runs and after it completed or was stopped."""
        if self.is_running or self._process.returncode in (0, 130):
            return ""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            stderr = log.read()[-KEPT_STDERR:]
        return failure_sentence("the worker", self._process.returncode, stderr)
