"""What ``engine.experiments.lr_asked`` writes, a line each. Imports no torch: the app reads it."""

from __future__ import annotations

import msgspec

from engine.experiments.lr_curve import Found, Tried


class Line(msgspec.Struct, omit_defaults=True):
    """One thing of these: how far work is (``activity``, ``done``, ``total``, as in a Progress event), a step that was
    ``tried``, a ``warning``, and at the end what was ``found``, or in ``error`` why nothing was, in a sentence."""

    activity: str = ""
    done: int = 0
    total: int = 0
    tried: Tried | None = None
    warning: str = ""
    found: Found | None = None
    error: str = ""
