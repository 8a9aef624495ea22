"""Trains and evaluates image classifiers; usable alone, from scripts and notebooks.

It must not know the app, the command line or any terminal library."""
