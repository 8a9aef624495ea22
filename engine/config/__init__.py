"""What a run is told: the settings' schema, freeze rules, phases and recipes.

It must not import torch, and it must not know what a run did."""
