"""Linear probes after every stage, and the advice that follows from them."""
