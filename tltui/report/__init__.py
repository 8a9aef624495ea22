"""``tltui report``: one self-contained file about a run."""
