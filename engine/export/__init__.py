"""Trained networks as files: one module a format, each with its content and its snippet.

It must not train or change a run."""
