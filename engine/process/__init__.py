"""The programs that run: worker, ranks, prewarmed workers, fork server and image server.

It must not hold training logic: it starts, stops and reports."""
