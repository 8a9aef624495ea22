"""Trying things before, beside and after training."""
