"""One training session: steps, epochs, optimizer, checkpoints and ranks.

It must not know processes, exports or experiments."""
