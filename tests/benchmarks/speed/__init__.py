"""Whole trainings side by side: this project, the loop of the PyTorch tutorial, and fastai.

``python -m tests.benchmarks.speed`` runs all, ``--help`` shows how to run a part. Each is a process of its own, timed
from its start to its end, on the same images, split, network, first weights, epochs and batch size, validated after
each epoch.
"""
