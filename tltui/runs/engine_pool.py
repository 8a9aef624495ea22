"""Worker processes for the runs of the app. One waits with its libraries imported, so that a new run trains at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engine.config.schema import RunConfig
from engine.process.prewarmed import as_line, code_state
from engine.runs.folder import RunFolder, create
from engine.system.interpreter import environment
from tltui.runs import launch


class EnginePool:
    """At most one engine waits. It goes when this process does, however that ends: the pipe between them closes."""

    def __init__(self) -> None:
        self._waiting: subprocess.Popen[bytes] | None = None
        self._code: object = None

    def start(self, runs_dir: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
        """Make a run and start its engine, the one that waits if any. Raises InputError as ``registry.start`` does."""
        folder = create(runs_dir, config)
        return folder, self._take(folder) or launch.start_first_engine(folder)

    def prewarm(self) -> None:
        """Let an engine wait from now on."""
        if self._waiting is None or self._waiting.poll() is not None:
            self._code = code_state()
            self._waiting = subprocess.Popen(
                [*launch.ENGINE, "--warm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment(),
                start_new_session=True,
            )

    def release(self) -> None:
        """No run is wanted for now: let the engine that waits go."""
        if self._waiting is not None and self._waiting.stdin is not None:
            self._waiting.stdin.close()
        self._waiting = None

    def _take(self, folder: RunFolder) -> subprocess.Popen[bytes] | None:
        """The engine that waits, with this run; None if it died, or is not what would start now."""
        engine = self._waiting
        if engine is None or engine.stdin is None or engine.poll() is not None:
            return None
        if self._code == code_state():
            try:
                engine.stdin.write(as_line(folder))
            except OSError:  # it died just now
                engine = None
        else:
            engine = None
        self.release()
        return engine
