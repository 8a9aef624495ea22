"""Answers experiment requests over stdin and stdout, one JSON document per line.

It must not hold experiment logic."""
