"""Taking a trained network home: files that others can load, and predictions."""
