"""The client of subprocesses that speak JSON lines, with real processes."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.config.schema import RunConfig
from engine.config.toml_io import from_tables, with_setting
from engine.errors import InputError
from engine.experiments.server.json_lines import RatesLine
from engine.experiments.sweep.definition import LOG
from engine.runs.folder import create
from tltui.engine_client import sweep
from tltui.engine_client.experiments import run_experiment
from tltui.engine_client.images import ImageClient
from tltui.engine_client.json_lines import request, stream


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def digits() -> RunConfig:
    return from_tables({"data": {"source": "digits"}})


async def received(code: str) -> list[object]:
    async with aclosing(stream(python(code), "the engine", dict)) as lines:
        return [line async for line in lines]


FAILURES = {
    "import sys; sys.exit(3)": "the engine ended with exit status 3 without an error message",
    "import os; os.kill(os.getpid(), 9)": "the engine was killed by SIGKILL without an error message",
    "import sys; print('first', file=sys.stderr); sys.exit('tltui: run.toml: no such file')": "run.toml: no such file",
    "print('no JSON')": "the output of the engine can't be read",
    "print('[1]')": "the output of the engine can't be read",
}


@pytest.mark.parametrize(("code", "sentence"), FAILURES.items())
def test_a_process_that_fails_is_one_sentence_for_requests_and_streams(code: str, sentence: str):
    for failing in (request(python(code), "the engine", dict), received(code)):
        with pytest.raises(InputError) as error:
            asyncio.run(failing)
        assert str(error.value).startswith(sentence)


def test_a_process_that_prints_nothing_is_no_answer_to_a_request():
    with pytest.raises(InputError, match="the engine ended without an answer"):
        asyncio.run(request(python(""), "the engine", dict))


@pytest.mark.parametrize("code", ["", "import sys; sys.exit(1)"])
def test_an_experiment_and_an_image_server_that_end_without_a_word_are_errors(code: str, tmp_path: Path):
    async def experiment() -> None:
        async for _ in run_experiment("lr-find", RatesLine, digits(), tmp_path, python(code)):
            pass

    for failing in (experiment(), ImageClient(tmp_path, python(code)).image("a.png", (8, 8))):
        with pytest.raises(InputError, match=r"(the experiment|the image server) ended with"):
            asyncio.run(failing)


def test_an_experiment_starts_from_an_earlier_run_of_its_id(tmp_path: Path):
    run = create(tmp_path, digits())
    told = "import json, sys; print(json.dumps({'error': json.load(sys.stdin)['model']['weights']}))"

    async def experiment() -> None:
        config = with_setting(digits(), "model.weights", f"run:{run.id[:4]}")
        async for _ in run_experiment("lr-find", RatesLine, config, tmp_path, python(told)):
            pass

    with pytest.raises(InputError, match=f"^run:{run.path.resolve()}@best$"):
        asyncio.run(experiment())


def test_a_command_that_can_not_be_started_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="the engine can't be started"):
        asyncio.run(request([str(tmp_path / "nowhere")], "the engine", dict))


def test_much_output_on_stderr_blocks_no_process():
    code = "import sys; sys.stderr.write('x' * 1_000_000); print('{\"a\": 1}')"
    assert asyncio.run(received(code)) == [{"a": 1}]


def test_closing_a_stream_ends_its_process_and_so_does_cancelling_a_request():
    async def closed() -> int:
        code = "import json, os, time; print(json.dumps({'pid': os.getpid()}), flush=True); time.sleep(60)"
        async with aclosing(stream(python(code), "the engine", dict[str, int])) as lines:
            async for line in lines:
                return line["pid"]
        raise AssertionError

    async def cancelled() -> None:
        await asyncio.wait_for(request(python("import time; time.sleep(60)"), "the engine", dict), 0.5)

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(closed()), 0)
    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())


def test_a_sweep_worker_that_fails_says_why(tmp_path: Path):
    worker = sweep.start_worker(tmp_path, str(tmp_path / "nowhere.toml"))

    async def ended() -> None:
        while worker.is_running:
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(ended(), 20))
    assert "nowhere.toml" in worker.error
    assert (tmp_path / LOG).read_text().strip().endswith(worker.error)
