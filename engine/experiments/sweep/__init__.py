"""Sweeps: which settings are best. Each trial is a run like any other; Optuna chooses its settings."""
