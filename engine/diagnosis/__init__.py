"""Rules over a run's state that name what goes wrong; each cites its source.

It must not import torch or read files: evidence comes from the state.
"""
