"""The user's keymap: which key runs which action.

It must not know the actions' code."""
