"""Precision, loss and batch size: how a forward and backward pass is computed.

It must not know networks' names, data sources or training loops.
"""
