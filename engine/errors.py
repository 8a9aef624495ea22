"""The two ways in which work ends early."""


class InputError(Exception):
    """What the user gave can't be used.

    The message is one sentence that says what is wrong, where, and what to do; it is shown as it is,
    without a traceback, and the process exits with status 2.
    """


class Stopped(Exception):
    """Someone asked the engine to stop (a command or a signal)."""
