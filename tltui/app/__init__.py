"""The shell around the screens: theme, palette, terminal, and what is requested of it.

It must not hold the logic of a screen."""
