"""``tltui sweep``: sweeps started, followed and looked at."""
