"""Clients of the engine's subprocesses: queries, images, experiments, sweeps, all over JSON lines.

It must not know screens; it returns typed replies or raises InputError."""
