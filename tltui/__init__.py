"""Transfer learning in the terminal."""
