import json
import math

import msgspec
import pytest

from engine.runs import commands
from engine.runs import events as p
from engine.runs.json_floats import decode_float, encode_float

STEP = p.Step(
    seq=3, time=1.5, step=1, epoch=1, loss=0.5, lr={"head": 0.1}, grad_norm=1.0, images_per_second=9.0
)  # fmt: skip


@pytest.mark.parametrize("value", [0.0, -1.5, math.nan, math.inf, -math.inf])
def test_a_loss_survives_the_line_whatever_it_is(value: float):
    loss, nonfinite = encode_float(value)
    line = commands.encode(msgspec.structs.replace(STEP, loss=loss, nonfinite=nonfinite))
    event = p.decode_event(line)
    assert isinstance(event, p.Step)
    restored = decode_float(event.loss, event.nonfinite)
    assert restored == value or (math.isnan(value) and math.isnan(restored))
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_line_is_one_object_with_its_type_number_and_time():
    line = commands.encode(STEP)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    content = json.loads(line)
    assert (content["type"], content["seq"], content["time"]) == ("step", 3, 1.5)


def test_fields_of_a_newer_engine_are_passed_over():
    content = json.loads(commands.encode(STEP)) | {"invented_later": [1]}
    assert p.decode_event(json.dumps(content).encode()) == STEP


def test_what_is_no_event_is_refused():
    for line in (b"", b"{", b"[]", b'{"type":"unheard_of"}', b'{"type":"step","seq":"one"}'):
        with pytest.raises(msgspec.DecodeError):
            p.decode_event(line)


@pytest.mark.parametrize(
    "command",
    [
        commands.Pause(id="a"),
        commands.Resume(id="b"),
        commands.Stop(id="c"),
        commands.SaveCheckpoint(id="d"),
        commands.Set(id="e", key="freeze.rules", value=["freeze *", "train head"]),
    ],
)
def test_a_command_survives_the_line_alone_and_inside_its_answer(command: commands.AnyCommand):
    assert commands.decode_command(commands.encode(command)) == command
    answer = p.CommandApplied(command=command, step=4)
    assert p.decode_event(commands.encode(answer)) == answer
