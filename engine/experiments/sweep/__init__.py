"""Hyperparameter sweeps: an Optuna study whose trials are runs.

It must not know how a run trains: it starts runs and reads their events."""
