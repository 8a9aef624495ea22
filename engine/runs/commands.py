"""The commands that interfaces append to a run's folder, each one line of JSON. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.files.escapes import all_printable

if TYPE_CHECKING:
    from engine.warning_codes import WarningCode
else:  # a log of another version may hold codes that this one does not know
    WarningCode = str


class Command(msgspec.Struct, kw_only=True, tag_field="type", tag=None):
    """A command for a run. The sender chooses ``id``; the event that answers the command repeats it."""

    id: str
    time: float = 0.0


class Pause(Command, tag="pause"):
    """Pause before the next step."""


class Resume(Command, tag="resume"):
    """End a pause."""


class Stop(Command, tag="stop"):
    """Write a checkpoint and end the run."""


class SaveCheckpoint(Command, tag="checkpoint"):
    """Write a checkpoint after the current step."""


class Set(Command, tag="set"):
    """Change a live setting such as ``optimizer.lr`` or ``freeze.rules`` at the next step."""

    key: str
    value: Any


AnyCommand = Pause | Resume | Stop | SaveCheckpoint | Set


_encoder = msgspec.json.Encoder()


_command_decoder = msgspec.json.Decoder(AnyCommand)


def encode(line: msgspec.Struct) -> bytes:
    """Encode an event or a command as one line of JSON, newline included."""
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:  # a file name that is not valid UTF-8
        return _encoder.encode(all_printable(msgspec.to_builtins(line))) + b"\n"


def decode_command(line: bytes) -> AnyCommand:
    """Decode a line. Raises msgspec.DecodeError if it is not a command."""
    try:
        return _command_decoder.decode(line)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
