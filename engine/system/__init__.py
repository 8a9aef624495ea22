"""The machine: devices, processors and the environment of a rank.

It must not know settings or networks."""
