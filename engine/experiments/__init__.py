"""Trying things before, beside and after training, and what comes of many runs."""
