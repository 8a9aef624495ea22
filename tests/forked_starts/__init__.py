"""Starts of ``python -m tltui`` and ``python -m engine.…`` in tests, by a fork in place of 4 seconds of imports.

- ``client``: takes the place of fork and exec in ``subprocess``, in pytest and in each process that was forked.
- ``server``: a process that has imported PyTorch, timm and the others. It forks a process for each start.
- ``context``: the same for functions of a test that run in processes of their own.

A forked process is a child of the one that started it, with its own process id, session, working directory,
environment, signal mask and standard files. Four things are the server's:

- the command line and environment that ``/proc`` shows;
- flags of the interpreter, and the seed of string hashes;
- the modules that are imported already;
- what libraries read from the environment while they are imported.

Tests of these are marked ``real_start``; ``pytest --real-starts`` forks nothing. Other commands, other environments
and systems other than Linux have a real start anyway.
"""
