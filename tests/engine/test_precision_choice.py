"""Which precision ``train.precision = "auto"`` means on a processor, and what finding out costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from engine.compute.precision_benchmark import choose_precision
from engine.config.schema import RunConfig
from engine.runs.events import Progress
from engine.runs.state import RunState, fold
from engine.system.cpu import has_bf16_instructions
from tests.conftest import Engine

CPU = torch.device("cpu")
X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx avx2 {}\nbugs\t\t: bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\nCPU part\t: 0xd40\n"


def with_cpuinfo(monkeypatch: pytest.MonkeyPatch, path: Path, text: str | None) -> None:
    """Have this process see a processor with other flags, or a system that lists none."""
    if text is not None:
        path.write_text(text)
    read = Path.read_text

    def read_text(this: Path, *arguments: str, **named: str) -> str:
        return read(path if str(this) == "/proc/cpuinfo" else this, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("fma"), False),
        (X86.format("avx512f avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (ARM.format("bf16 i8mm"), True),
        (ARM.format("asimddp"), False),
        ("processor\t: 0\ncpu\t\t: POWER9\n", None),
        (None, None),
    ],
)
def test_the_flags_tell_whether_a_processor_computes_in_bf16(
    text: str | None, expected: bool | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with_cpuinfo(monkeypatch, tmp_path / "cpuinfo", text)
    assert has_bf16_instructions() is expected


def test_without_bf16_instructions_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTUI_CACHE", str(tmp_path / "cache"))
    with_cpuinfo(monkeypatch, tmp_path / "cpuinfo", X86.format("fma"))
    said: list[str] = []
    chosen = choose_precision("auto", CPU, lambda activity, *_: said.append(activity))
    assert [precision.name for precision in chosen] == ["fp32", "fp32"]
    assert said == []
    assert not (tmp_path / "cache").exists()


def test_where_the_flags_do_not_tell_a_small_block_is_timed_once_for_each_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TLTUI_CACHE", str(tmp_path / "cache"))
    with_cpuinfo(monkeypatch, tmp_path / "cpuinfo", None)
    said: list[tuple[str, int, int]] = []

    def report(activity: str, done: int, total: int, _unit: str) -> None:
        said.append((activity, done, total))

    chosen = choose_precision("auto", CPU, report)
    assert said[0] == ("precision", 0, 4)
    assert said[-1] == ("precision", 4, 4)
    measured = (tmp_path / "cache" / "arithmetic.json").read_bytes()
    said.clear()
    assert choose_precision("auto", CPU, report) == chosen
    assert said == []
    assert (tmp_path / "cache" / "arithmetic.json").read_bytes() == measured
    (seconds,) = json.loads(measured).values()
    for precision, part in zip(chosen, ("training", "frozen"), strict=True):
        assert precision.name == ("bf16" if seconds[part]["bf16"] * 1.2 < seconds[part]["fp32"] else "fp32")


TIMED = """
import time, torch
from pathlib import Path
from engine.system import cpu
from engine.runs.progress import quiet
from engine.compute.precision_benchmark import choose_precision


cpu.set_up_processor()
Path.read_text = lambda *_, **__: ""  # a system that lists no flags
start = time.process_time()
choose_precision("auto", torch.device("cpu"), quiet)
print((time.process_time() - start) / torch.get_num_threads())
"""


def test_the_measurement_takes_less_than_a_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTUI_CACHE", str(tmp_path))
    printed = subprocess.run([sys.executable, "-c", TIMED], check=True, capture_output=True, text=True).stdout
    assert (tmp_path / "arithmetic.json").exists()
    assert float(printed) < 1.0


@pytest.mark.real_start
def test_a_run_takes_the_fastest_precision_within_seconds_of_its_start(
    engine: Engine, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TLTUI_CACHE", str(tmp_path / "cache"))
    wanted = config(model={"name": "efficientnet_lite0"}, data={"image_size": 224}, train={"precision": "auto"})
    folder, process = engine.start(wanted)
    start = time.monotonic()
    while not folder.events.exists() or b"run_started" not in folder.events.read_bytes():
        assert process.poll() is None, folder.log.read_text()
        assert time.monotonic() - start < 60
        time.sleep(0.02)
    used = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100
    process.kill()
    process.wait()
    started = next(
        line for line in map(msgspec.json.decode, folder.events.read_bytes().splitlines()) if line["type"] != "progress"
    )
    assert started["type"] == "run_started"
    assert used < 10  # CPU seconds, most of them for importing torch


def test_a_measurement_before_the_run_starts_is_shown():
    state = fold(RunState(), Progress(activity="precision", done=1, total=4, unit="timings"))
    assert state.status == "starting"
    assert state.progress is not None
    from tltui.tables.activities import ACTIVITIES

    assert ACTIVITIES["precision"] == "timing bf16 against fp32"
