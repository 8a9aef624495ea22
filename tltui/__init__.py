"""The app and the command line of tltui.

It must not import torch, numpy or the engine's heavy modules at import."""
