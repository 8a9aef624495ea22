"""Run folders as the interface sees them: list, status, start, follow, queue.

It must not know screens or widgets."""
