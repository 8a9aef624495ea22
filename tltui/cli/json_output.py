"""JSON for standard output, which may be a terminal."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.files.escapes import all_printable

# JSON need not escape these, but terminals act on them: C1 controls, and marks that reorder text.
_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_json(value: Any) -> bytes:  # noqa: ANN401 (whatever msgspec encodes)
    """``value`` as one line of JSON without a line end and without control characters."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:  # part of a file's name that is no UTF-8
        encoded = msgspec.json.encode(all_printable(msgspec.to_builtins(value)))
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()
