"""Runs for tests of the whole app: an engine that says what the test tells it to, through real files and lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from networks import as_json, resnet18
from textual.app import App
from textual.pilot import Pilot

from engine.config.schema import RunConfig
from engine.runs import commands as run_commands
from engine.runs import events as p
from engine.runs.command_log import CommandTail
from engine.runs.event_log import EventLog
from engine.runs.folder import RunFolder, create
from engine.runs.lock import Lock
from tltui.app.app import TltuiApp
from tltui.engine_client.queries import EngineQueries

RESNET18 = Path(__file__).parent / "data" / "resnet18.json"
_PRINT = "import sys; print(open(sys.argv[1]).read())"
_REFUSE = "import sys; sys.exit('tltui: model.name = \"nonesuch\" is not known; nearest: none')"


@dataclass
class ScriptedEngine:
    """Writes a run's events when the test says so, and holds its lock as long as it "lives"."""

    started: list[ScriptedRun] = field(default_factory=list)

    def prewarm(self) -> None:
        """Nothing to import here."""

    def release(self) -> None:
        """Nothing waits."""

    def start(self, runs_dir: Path, config: RunConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
        """As ``tltui.runs.engine_pool.Engines.start``; the process ends at once, the lock says that the run lives."""
        self.started.append(ScriptedRun(create(runs_dir, config)))
        return self.started[-1].folder, subprocess.Popen(["true"])


class ScriptedRun:
    """One run, alive until ``end``."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._lock: Lock | None = Lock(folder)
        self._log = EventLog(folder)
        self._commands = CommandTail(folder)

    def begin(self, epochs: int = 4) -> None:
        """All that comes before the first step, with the layer tree."""
        self.folder.model.write_bytes(as_json(resnet18()))
        self.say(
            p.RunStarted(
                run=self.folder.id,
                versions={},
                device="cpu",
                device_name="CPU",
                precision="fp32",
                frozen_precision="fp32",
                process_id=1,
                seed=42,
                epochs=epochs,
            ),
            p.DataReady(
                classes=[str(digit) for digit in range(10)],
                counts={"train": 64, "val": 16, "test": 16},
                class_counts={},
                skipped=[],
                seconds=0.1,
            ),
            p.ModelReady(
                name="resnet18",
                parameters=p.ParameterCounts(total=11_181_642, trainable=5_130, frozen=11_176_512),
                head=["fc"],
                input_size=224,
                rules=self.folder.load_config().freeze.rules,
                weights=p.WeightsReport(source="here"),
                steps_per_epoch=8,
            ),
        )

    def say(self, *events: p.AnyEvent) -> None:
        for event in events:
            self._log.write(event)

    def commands(self) -> list[run_commands.AnyCommand | str]:
        """The commands that came since the last look."""
        return list(self._commands.poll())

    def end(self, status: str = "completed") -> None:
        self.say(p.RunFinished(status=status, reason="", seconds=1.0, exit_code=0))  # type: ignore[arg-type]
        self.die()

    def die(self) -> None:
        """The process goes without a word."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def answering(model: Path = RESNET18) -> EngineQueries:
    """Queries that are answered with a network from a file."""
    return EngineQueries(
        inspect=(sys.executable, "-c", _PRINT, str(model)),
        models=(sys.executable, "-c", "print('[]')"),
    )


def silent() -> EngineQueries:
    """Queries to which no answer comes."""
    return EngineQueries(inspect=(sys.executable, "-c", "import time; time.sleep(60)"))


def refusing() -> EngineQueries:
    """Queries that the engine refuses."""
    return EngineQueries(inspect=(sys.executable, "-c", _REFUSE), models=(sys.executable, "-c", _REFUSE))


def app_on(tmp_path: Path, engine: ScriptedEngine | None = None, **options: object) -> TltuiApp:
    """The app on empty folders."""
    settings: dict[str, object] = {"queries": answering(), "config_dir": tmp_path / "config"}
    settings.update(options)
    return TltuiApp(tmp_path / "runs", engines=engine or ScriptedEngine(), **settings)  # type: ignore[arg-type]


def digits(**train: object) -> RunConfig:
    """A config that needs no files."""
    return RunConfig.model_validate({"data": {"source": "digits"}, "model": {"name": "resnet18"}, "train": train})


def images(folder: Path, **counts: int) -> Path:
    """A folder of so many empty images a class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.png").touch()
    return folder


async def until(pilot: Pilot[int], condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the app go on until something holds."""
    for _ in range(int(seconds / 0.05)):
        await pilot.pause(0.05)
        if condition():
            return
    raise AssertionError("it did not come to pass")


def text_of(app: App[int] | App[None]) -> str:
    """What is on the screen, as plain lines."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def sentence_of(app: TltuiApp) -> str:
    """What is on the screen as one line, for texts that may wrap."""
    return " ".join(text_of(app).split())


def notices(app: TltuiApp) -> str:
    """The notifications that are shown, as sentences."""
    return "\n".join(notification.message for notification in app._notifications)
