"""The command line: one module a command.

It must not import heavy libraries before a command needs them."""
