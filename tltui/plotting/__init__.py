"""Curves as data: long series, axes, and the one module that knows plotext."""
