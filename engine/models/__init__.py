"""Networks: where they come from, their layer tree, freezing, and cutting them at a boundary.

It must not know training or data."""
