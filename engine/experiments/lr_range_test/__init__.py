"""The learning-rate range test: sweep the rate, read the curve, restore the session.

It must not leave a trace in the session that it tests."""
