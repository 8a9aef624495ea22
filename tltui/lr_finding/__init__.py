"""The learning-rate range test, as a command prints it and the app shows it."""
