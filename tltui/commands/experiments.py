"""Commands that try things and compare them."""

from __future__ import annotations

COMMANDS = ()
