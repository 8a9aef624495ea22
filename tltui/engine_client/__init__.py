"""Requests to the engine's helper processes, over JSON lines.

It must not know screens; it returns typed answers or raises."""
