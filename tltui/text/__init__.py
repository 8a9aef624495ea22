"""Glyphs, numbers and safe text for a terminal.

It must not know runs, settings or widgets."""
