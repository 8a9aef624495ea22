"""A process that is forked for a test is what it would be after fork and exec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.system.interpreter import environment, python_module
from engine.system.process_signals import blocked
from tests.forked_starts.client import Client


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    return subprocess.Popen(
        python_module("tests.forked_starts.facts", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TLTUI_RUNS="elsewhere"),
        **options,
    )


def facts(client: Client, *, fork: bool, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    client.enabled, before = fork, client.enabled
    with blocked():
        process = start("0", **options)
    output, errors = process.communicate("given")
    client.enabled = before
    assert (process.returncode, errors) == (0, "")
    return json.loads(output)


@pytest.mark.parametrize("options", [{}, {"start_new_session": True, "umask": 0o027}], ids=["plain", "session"])
def test_a_forked_process_sees_what_a_started_one_sees(options: dict[str, Any], forked_starts: Client, tmp_path: Path):
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        forked = facts(forked_starts, fork=True, cwd=tmp_path, **options)
        started = facts(forked_starts, fork=False, cwd=tmp_path, **options)
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert (forked.pop("torch is imported"), started.pop("torch is imported")) == (True, False)
    assert forked == started
    assert forked["parent"] == os.getpid()


@pytest.mark.parametrize("ending", ["7", "one sentence", "error", "interrupt"])
def test_a_forked_process_ends_as_a_started_one_does(ending: str, forked_starts: Client):
    def end(*, fork: bool) -> tuple[int, str]:
        client.enabled = fork
        process = start(ending)
        _, errors = process.communicate("")
        return process.returncode, errors.splitlines()[-1] if errors else ""

    client = forked_starts
    assert end(fork=True) == end(fork=False)


def test_signals_reach_a_forked_process():
    process = start("0")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
