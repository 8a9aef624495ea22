"""The parts of the manual that are made from the code. ``python -m tltui.manual_reference`` writes them anew.

For developers and tests; nothing of it is imported by the app or a command.
"""
