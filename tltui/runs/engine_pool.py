"""Worker processes for the runs of the app. One waits with its libraries imported, so that a new run trains at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engine.config.schema import RunConfig
from engine.process.prewarmed import encode_run, source_state
from engine.runs.folder import RunFolder, create
from engine.system.interpreter import environment
from tltui.runs import launch


class EnginePool:
    """Keeps at most one prewarmed worker. It exits with this process, however that ends: their pipe closes."""

    def __init__(self) -> None:
        self._waiting: subprocess.Popen[bytes] | None = None
        self._code: object = None

    def start(self, runs_dir: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
        """Create a run and start it, in the prewarmed worker if any. Raises InputError as ``launch.start`` does."""
        folder = create(runs_dir, config)
        return folder, self._take(folder) or launch.start_first_engine(folder)

    def prewarm(self) -> None:
        """Start a worker that imports its libraries and waits for a run."""
        if self._waiting is None or self._waiting.poll() is not None:
            self._code = source_state()
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
        """End the prewarmed worker."""
        if self._waiting is not None and self._waiting.stdin is not None:
            self._waiting.stdin.close()
        self._waiting = None

    def _take(self, folder: RunFolder) -> subprocess.Popen[bytes] | None:
        """The prewarmed worker, given this run; None if it died, or the code changed since it started."""
        engine = self._waiting
        if engine is None or engine.stdin is None or engine.poll() is not None:
            return None
        if self._code == source_state():
            try:
                engine.stdin.write(encode_run(folder))
            except OSError:  # it has just died
                engine = None
        else:
            engine = None
        self.release()
        return engine
