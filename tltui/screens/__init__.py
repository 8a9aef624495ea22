"""Screens, panes and dialogs.

They must not import the app: they post requests to it."""
