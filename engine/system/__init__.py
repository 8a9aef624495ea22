"""The machine: devices, CPU, process start and signals, and the environment of a rank.

It must not know settings or networks.
"""
