"""Work over many short trials: learning-rate range test, linear probe and sweeps.

It must not be known by anything below it."""
