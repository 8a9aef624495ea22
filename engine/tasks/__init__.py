"""What a network learns to predict: one module per task, behind the interface of ``engine.compute.task``.

It must not know training loops, processes or export formats."""
