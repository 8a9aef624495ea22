"""Linear probes of each stage, similarity to the source task, and the recommendation.

It must not train the backbone."""
