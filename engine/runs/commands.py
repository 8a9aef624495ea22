"""The commands that interfaces append to a run's folder, each one line of JSON. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.files.escapes import all_printable

if TYPE_CHECKING:
    from engine.warning_codes import WarningCode
else:  # what writes a code is checked; a log of another version may hold any, and is read all the same
    WarningCode = str


class Command(msgspec.Struct, kw_only=True, tag_field="type", tag=None):
    """A wish. ``id`` is chosen by the sender and comes back in the event that answers it."""

    id: str
    time: float = 0.0


class Pause(Command, tag="pause"):
    """Wait before the next step."""


class Resume(Command, tag="resume"):
    """End a pause."""


class Stop(Command, tag="stop"):
    """Write a checkpoint and end the run."""


class SaveCheckpoint(Command, tag="checkpoint"):
    """Write a checkpoint after this step."""


class Set(Command, tag="set"):
    """Change a live setting: ``optimizer.lr``, ``freeze.rules`` … ; takes effect at the next step."""

    key: str
    value: Any


AnyCommand = Pause | Resume | Stop | SaveCheckpoint | Set


_encoder = msgspec.json.Encoder()


_command_decoder = msgspec.json.Decoder(AnyCommand)


def encode(line: msgspec.Struct) -> bytes:
    """An event or a command as one line of JSON, newline included."""
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:  # part of a file's name that is no UTF-8
        return _encoder.encode(all_printable(msgspec.to_builtins(line))) + b"\n"


def decode_command(line: bytes) -> AnyCommand:
    """Raises msgspec.DecodeError for what is no command."""
    try:
        return _command_decoder.decode(line)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
