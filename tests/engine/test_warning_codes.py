"""Each warning code has one meaning, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import engine
from engine.runs import events as p
from engine.warning_codes import MEANINGS, WarningCode


def test_every_code_has_a_meaning_and_is_used():
    assert tuple(MEANINGS) == get_args(WarningCode)
    folder = Path(engine.__file__).parent
    source = "\n".join(path.read_text() for path in folder.rglob("*.py") if path.name != "warning_codes.py")
    assert [code for code in MEANINGS if f'"{code}"' not in source] == []


def test_a_log_with_a_code_of_another_version_is_read():
    event = p.decode_event(b'{"type": "warning", "code": "from_the_future", "message": "later"}')
    assert isinstance(event, p.Warning)
    assert event.code == "from_the_future"
