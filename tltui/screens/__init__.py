"""What the user sees: screens, panes and dialogs.

They must not import the app: they post messages to it."""
