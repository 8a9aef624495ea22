"""Exports trained networks to files: one module per format, each with its writer and its prediction script.

It must not train or change a run."""
