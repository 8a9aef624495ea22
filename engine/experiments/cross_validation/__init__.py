"""k-fold cross-validation: a run for each fold, and the mean of their metrics.

It imports no torch: workers train the runs."""
