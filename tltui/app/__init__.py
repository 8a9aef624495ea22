"""The shell around the screens: themes, command palette, terminal, requests of screens.

It must not hold the logic of a screen."""
