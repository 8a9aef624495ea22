"""The run folder: events, commands, logs, lock and the state folded from them.

It must not import torch: this is the boundary between the engine and every interface.
"""
