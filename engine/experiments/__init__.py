"""Many runs: what is tried, and what comes of it."""
