"""Forecasts of time and memory for a freeze plan.

It must not start runs or change settings."""
