"""Answers experiment requests over stdin and stdout, one JSON document a line.

It must not hold experiment logic."""
