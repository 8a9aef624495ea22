"""Writes the generated blocks of all pages anew."""

from __future__ import annotations

import sys

from tltui.manual.pages import FOLDER
from tltui.manual_reference.blocks import renewed

for path in sorted(FOLDER.glob("*.md")):
    before = path.read_text(encoding="utf-8")
    after = renewed(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
