"""From images to batches: sources, decoding, image cache, augmented views, splits and loaders.

It imports neither networks nor training."""
