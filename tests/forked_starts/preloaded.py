"""Importing this module imports what training needs, for the processes that are then forked."""

from engine.process.prewarmed import preload_libraries

preload_libraries()
