"""Comparison of runs: settings that differ, curves, metrics and paired tests.

It must not know screens."""
